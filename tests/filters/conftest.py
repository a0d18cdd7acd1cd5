from tests.filters.alone import alone

__all__ = ["alone"]
