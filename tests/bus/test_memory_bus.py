"""The in-memory bus keeps the contract of every bus."""

import pytest

from bus.message_bus import MemoryBus
from tests.contracts.bus_contract import BusContract


class TestMemoryBus(BusContract):
    @pytest.fixture
    def bus(self) -> MemoryBus:
        return MemoryBus(capacity=self.capacity)
