"""A router in a virtual machine of its own, without an operating system in it.

The guest starts in 64-bit mode at privilege level 3 and stays there: no kernel mode, no interrupts, no devices. Its page
tables (one page of 2 MiB entries) map the region from address 0 and give each window its rights. It leaves by an ``out``
instruction, which I/O privilege level 3 allows; any fault, having no handler, ends it (KVM_EXIT_SHUTDOWN).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import signal
import struct

from penstock.isolation.layout import Context, Request, State
from penstock.isolation.loops import loops
from penstock.isolation.machine import Machine, MachineError
from penstock.isolation.region import CODE, CONTROL, DATA, STACK_TOP, WINDOW
from penstock.runtime.once import once

__all__ = ["KvmMachine", "why_not"]

_CREATE_VM, _GET_VCPU_MMAP_SIZE, _CREATE_VCPU, _GET_SUPPORTED_CPUID = 0xAE01, 0xAE04, 0xAE41, 0xC008AE05
_SET_USER_MEMORY_REGION, _SET_CPUID2, _SET_SIGNAL_MASK = 0x4020AE46, 0x4008AE90, 0x4004AE8B
_GET_REGS, _SET_REGS, _GET_SREGS, _SET_SREGS, _SET_XCRS = 0x8090AE81, 0x4090AE82, 0x8138AE83, 0x4138AE84, 0x4188AEA7
_SET_DEVICE_ATTR = 0x4018AEE1
_TSC_GROUP, _TSC_OFFSET = 0, 0
_IMMEDIATE_EXIT_OFFSET = 1
_EXIT_SHUTDOWN = 8

_PRESENT, _WRITE, _USER, _ACCESSED_DIRTY, _LARGE, _NX = 1, 2, 4, 0x60, 0x80, 1 << 63
_CR0 = 0x80050033  # PG, AM, WP, NE, ET, MP, PE
_CR4 = 0x40620  # OSXSAVE, OSXMMEXCPT, OSFXSR, PAE
_EFER = 0xD00  # NXE, LMA, LME
_RFLAGS = 0x3002  # IOPL 3
_CR_OFFSET = 24 * 8 + 16 * 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]


def _ioctl(descriptor: int, request: int, argument: int | ctypes.Array[ctypes.c_char] | None, what: str) -> int:
    result = _libc.ioctl(descriptor, request, argument)
    if result < 0:
        number = ctypes.get_errno()
        if number in (errno.EMFILE, errno.ENFILE):
            raise MachineError(f"no file descriptors left for {what}: raise 'ulimit -n' (each virtual machine takes two)")
        raise MachineError(f"{what}: {os.strerror(number)}")
    return int(result)


@once
def _kvm() -> int:
    return os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)


@once
def why_not() -> str:
    """Why there can be no virtual machines here; empty where there can."""
    try:
        _kvm()
    except OSError as error:
        if error.errno == errno.ENOENT:
            return "/dev/kvm is not there (load the module kvm_intel or kvm_amd, or allow nested virtualisation)"
        return f"/dev/kvm: {error.strerror} (add this user to the group kvm)"
    return ""


@once
def _shared_page_bytes() -> int:
    return _ioctl(_kvm(), _GET_VCPU_MMAP_SIZE, None, "KVM_GET_VCPU_MMAP_SIZE")


@once
def _cpuid() -> tuple[ctypes.Array[ctypes.c_char], int]:
    """The processor as KVM can show it, and the vector state that the guest may use."""
    count = 256
    buffer = ctypes.create_string_buffer(struct.pack("II", count, 0), 8 + 40 * count)
    _ioctl(_kvm(), _GET_SUPPORTED_CPUID, buffer, "KVM_GET_SUPPORTED_CPUID")
    xcr0 = 1
    for i in range(struct.unpack_from("I", buffer, 0)[0]):
        function, index, _, eax, _, _, edx = struct.unpack_from("7I", buffer, 8 + 40 * i)
        if (function, index) == (0xD, 0):
            xcr0 = eax | edx << 32
    # x87, SSE, AVX, AVX-512: what compiled code may use.
    return buffer, xcr0 & 0xE7


def _segment(selector: int, kind: int, *, long_mode: int, default_32: int) -> bytes:
    return struct.pack("<QIH10B", 0, 0xFFFFFFFF, selector, kind, 1, 3, default_32, 1, long_mode, 1, 0, 0, 0)


def _system_registers(vcpu: int) -> ctypes.Array[ctypes.c_char]:
    registers = ctypes.create_string_buffer(0x138)
    _ioctl(vcpu, _GET_SREGS, registers, "KVM_GET_SREGS")
    code, data = _segment(0x33, 11, long_mode=1, default_32=0), _segment(0x2B, 3, long_mode=0, default_32=1)
    struct.pack_into("144s", registers, 0, code + data * 5)
    struct.pack_into("<6Q", registers, _CR_OFFSET, _CR0, 0, 0, _CR4, 0, _EFER)
    return registers


@functools.cache
def _page_tables(windows: int) -> bytes:
    """Identity: one table of each level. The windows: the host's, code, then data."""
    rights = _PRESENT | _WRITE | _USER
    directory = [_PRESENT | _WRITE, CODE | _PRESENT | _USER]
    directory += [(i * WINDOW) | rights | _NX for i in range(DATA // WINDOW, windows)]
    entries = [e | _LARGE | _ACCESSED_DIRTY for e in directory]
    pages = [struct.pack("<Q", 0x1000 | rights), struct.pack("<Q", 0x2000 | rights), struct.pack(f"<{len(entries)}Q", *entries)]
    return b"".join(p.ljust(4096, b"\0") for p in pages)


class KvmMachine(Machine):
    """One virtual machine with one virtual CPU."""

    isolation = "kvm"
    can_interrupt = True

    def __init__(self, *, data_bytes: int = 4 << 20, name: str = ""):
        if reason := why_not():
            raise MachineError(reason)
        super().__init__(data_bytes=data_bytes, name=name)
        self._vm = self._vcpu = -1
        self._run_page = 0
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        region = self.region
        self._vm = _ioctl(_kvm(), _CREATE_VM, None, "a virtual machine")
        region.put(0, _page_tables(region.size // WINDOW))
        if self._place_code(loops().code) != CODE:
            raise AssertionError("the loops are the first code of a region")
        memory = ctypes.create_string_buffer(struct.pack("<IIQQQ", 0, 0, 0, region.size, region.address))
        _ioctl(self._vm, _SET_USER_MEMORY_REGION, memory, "the memory of a virtual machine")
        self._vcpu = _ioctl(self._vm, _CREATE_VCPU, None, "a virtual CPU")
        self._run_page = self._map_run_page()
        self.context.store(Context.VCPU, 8, self._vcpu)
        self.context.store(Context.RUN, 8, self._run_page)
        self._set_registers()

    def _map_run_page(self) -> int:
        """Not with Python's mmap, which keeps a third descriptor for each virtual machine."""
        rights = mmap.PROT_READ | mmap.PROT_WRITE
        size = ctypes.c_size_t(_shared_page_bytes())
        address: int = _libc.mmap(None, size, rights, mmap.MAP_SHARED, self._vcpu, ctypes.c_long(0))
        if address == ctypes.c_void_p(-1).value:
            raise MachineError(f"the shared page of a virtual CPU: {os.strerror(ctypes.get_errno())}")
        return address

    def _set_registers(self) -> None:
        vcpu = self._vcpu
        cpuid, xcr0 = _cpuid()
        _ioctl(vcpu, _SET_CPUID2, cpuid, "KVM_SET_CPUID2")
        _ioctl(vcpu, _SET_SREGS, _system_registers(vcpu), "KVM_SET_SREGS")
        control = ctypes.create_string_buffer(struct.pack("<IIIIQ", 1, 0, 0, 0, xcr0), 0x188)
        _ioctl(vcpu, _SET_XCRS, control, "KVM_SET_XCRS")
        entries = loops().entries
        registers = [0] * 18
        # rsi, rdi, rdx are the arguments of serve(control, hook, context); a call would have pushed a return address.
        registers[3], registers[4], registers[5] = 0, CODE + entries["doorbell"], CONTROL
        registers[6], registers[16], registers[17] = STACK_TOP - 8, CODE + entries["serve"], _RFLAGS
        _ioctl(vcpu, _SET_REGS, ctypes.create_string_buffer(struct.pack("<18Q", *registers)), "KVM_SET_REGS")
        # The guest reads the host's own time stamp counter. Where the kernel cannot say so, it does anyway (kvm_pvm).
        offset = ctypes.c_uint64(0)
        attribute = struct.pack("<IIQQ", 0, _TSC_GROUP, _TSC_OFFSET, ctypes.addressof(offset))
        _libc.ioctl(vcpu, _SET_DEVICE_ATTR, ctypes.create_string_buffer(attribute))
        # SIGUSR2 ends a run of the virtual CPU, and nothing else: the thread has it blocked.
        mask = ((1 << 64) - 1) & ~(1 << (signal.SIGUSR2 - 1))
        _ioctl(vcpu, _SET_SIGNAL_MASK, ctypes.create_string_buffer(struct.pack("<IQ", 8, mask)), "KVM_SET_SIGNAL_MASK")

    def _address(self, offset: int) -> int:
        return offset

    def _place_code(self, code: bytes) -> int:
        at = self.region.allocate("code", len(code))
        self.region.put(at, code)
        return at

    def _hooks(self) -> tuple[int, int, int]:
        entries = loops().entries
        return CODE + entries["upcall"], CODE + entries["doorbell"], 0

    def _loop(self) -> str:
        return "vcpu"

    def _interrupt(self) -> None:
        ctypes.c_uint8.from_address(self._run_page + _IMMEDIATE_EXIT_OFFSET).value = 1
        thread = self.context.load(Context.THREAD, 8)
        end = 200
        while self.state not in (State.ENDED, State.CRASHED) and end:
            _libc.syscall(234, os.getpid(), thread, int(signal.SIGUSR2))
            with contextlib.suppress(MachineError):
                self._wait_for_state(State.ENDED, State.CRASHED, timeout_s=0.02)
            end -= 1

    def break_off(self, reason: str) -> None:
        """Stop a domain that does not come back; it counts as crashed."""
        self.crash_reason = reason
        self.context.store(Context.REQUEST, 8, Request.END)
        self._interrupt()

    def registers(self) -> dict[str, int]:
        """Of a virtual CPU that has stopped."""
        buffer = ctypes.create_string_buffer(144)
        _ioctl(self._vcpu, _GET_REGS, buffer, "KVM_GET_REGS")
        names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", *(f"r{n}" for n in range(8, 16)), "rip", "rflags")
        return dict(zip(names, struct.unpack("<18Q", buffer), strict=True))

    def _explain_crash(self) -> str:
        reason = self.context.load(Context.REASON, 8)
        at = self.registers()["rip"]
        if reason == _EXIT_SHUTDOWN:
            return "it did what its memory or its processor forbids" + self.where(at)
        if reason >> 63:
            number = (1 << 64) - reason
            return f"the virtual CPU could not run: {os.strerror(number)}"
        return f"the virtual CPU stopped (KVM exit reason {reason})" + self.where(at)

    def _release(self) -> None:
        for descriptor in (self._vcpu, self._vm):
            if descriptor >= 0:
                os.close(descriptor)
        self._vm = self._vcpu = -1
        if self._run_page:
            _libc.munmap(ctypes.c_void_p(self._run_page), ctypes.c_size_t(_shared_page_bytes()))
            self._run_page = 0
        super()._release()
