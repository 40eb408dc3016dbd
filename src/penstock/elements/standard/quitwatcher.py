"""QuitWatcher."""

from penstock.elements import ConfigureError, Element, Timer, datapath, u32
from penstock.lang.arguments import ElementName

__all__ = ["QuitWatcher"]

_LOOK_NS = 10_000_000


class QuitWatcher(Element):
    """Stop the driver when a watched element's task is no longer scheduled.

    Arguments:
        ELEMENT, ...: elements with tasks, all of which must have come to rest.

    Example:
        QuitWatcher(u); InfiniteSource(LIMIT 5) -> Queue -> u :: Unqueue -> Discard;
    """

    ports = "0/0"

    checks: u32

    def configure(self, *element: ElementName) -> None:
        if not element:
            raise ConfigureError("ELEMENT: required argument missing")
        self.watched = element
        self.timer = Timer(self)

    def initialize(self) -> None:
        numbers: list[int] = []
        for name in self.watched:
            found = self.router.find(name, self.name)
            if found is None:
                raise ConfigureError(f"no element named '{name}'")
            tasks = self.driver.tasks_of(found)
            if not tasks:
                raise ConfigureError(f"'{name}' has no task")
            numbers += [t.index for t in tasks]
        self.task_numbers = tuple(numbers)

    def started(self) -> None:
        self.timer.schedule_after(_LOOK_NS)

    @datapath
    def run_timer(self) -> bool:
        self.checks += 1
        for number in self.task_numbers:
            if self.driver.scheduled[number] != 0:
                self.timer.schedule_after(_LOOK_NS)
                return False
        self.stop_driver()
        return True
