"""The store: small values in a tree, with watches, transactions, quotas and permissions, spoken to in XenStore's protocol."""

from penstock.toolstack.store.journal import open_store
from penstock.toolstack.store.tree import Quota, Store, StoreError
from penstock.toolstack.store.wire import StoreServer

__all__ = ["Quota", "Store", "StoreError", "StoreServer", "open_store"]
