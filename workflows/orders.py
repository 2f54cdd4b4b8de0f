"""An order that arrives by webhook: priced, reserved and charged, then confirmed."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, Field

from tidemill import Context, DoNotRetry, Retry, dag, task


class Line(BaseModel):
    """So many of one thing."""

    sku: str
    quantity: Annotated[int, Field(ge=1)]
    unit_cents: Annotated[int, Field(ge=0)]


class Order(BaseModel):
    """What somebody ordered."""

    id: str
    customer: str
    lines: Annotated[list[Line], Field(min_length=1)]
    #: Test cards as payment providers have them: `declined` is refused, `busy` answers at the second attempt.
    card: str


@task
def price(order: Order) -> int:
    """The total in cents. A plain function: it runs in a thread."""
    return sum(line.quantity * line.unit_cents for line in order.lines)


@task
async def reserve(order: Order) -> dict[str, int]:
    """Pieces put aside, by article. A coroutine function: it runs in the event loop, beside `price`."""
    reserved: dict[str, int] = {}
    for line in order.lines:
        reserved[line.sku] = reserved.get(line.sku, 0) + line.quantity
    return reserved


@task(retry=Retry(max_attempts=3, delay=timedelta(milliseconds=300)), timeout=10)
async def charge(order: Order, cents: int, context: Context) -> dict[str, Any]:
    """Charge the card; a busy bank is asked again. The same key in every attempt makes it one charge."""
    if order.card == "busy" and context.attempt == 1:
        raise ConnectionError("the bank is busy")
    if order.card == "declined":
        raise DoNotRetry(f"the card of order {order.id} was declined")
    return {"cents": cents, "key": context.idempotency_key}


@task
async def confirm(order: Order, reserved: dict[str, int], charged: dict[str, Any]) -> dict[str, Any]:
    """What the customer is told, and the result of the run."""
    return {"order": order.id, "pieces": sum(reserved.values()), "cents": charged["cents"]}


@dag(dag_id="process_order", description="Price, reserve and charge an order.", tags=["shop"])
def process_order(order: Order) -> Any:
    """`price` and `reserve` run at once; `charge` follows `price`; `confirm` waits for all."""
    return confirm(order, reserve(order), charge(order, price(order)))
