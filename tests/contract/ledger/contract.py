"""What every ledger must do: one suite over the fake (test_fake_ledger.py) and over PostgreSQL
(test_postgres_ledger.py)."""

from tests.contract.ledger.pairing import Pairing
from tests.contract.ledger.persons import Persons
from tests.contract.ledger.recording import Recording
from tests.contract.ledger.sending import Sending
from tests.contract.ledger.steps import Steps


class LedgerContract(Recording, Steps, Sending, Persons, Pairing):
    """A subclass gives what `Contract` asks for."""
