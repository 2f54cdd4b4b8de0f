"""A payment that arrives as a record of a Kafka topic."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from tidemill import Context, dag, task


class Payment(BaseModel):
    """Money that came in."""

    id: str
    order: str
    cents: Annotated[int, Field(gt=0)]
    currency: Literal["EUR", "USD"] = "EUR"


@task
def net(payment: Payment) -> int:
    """What is left after the provider's fee of 25 cents and 1.4 %, in cents."""
    return max(0, payment.cents - 25 - payment.cents * 14 // 1000)


@task
async def record(payment: Payment, net_cents: int, context: Context) -> dict[str, Any]:
    """The entry of the books; its key is the same in every attempt."""
    return {
        "payment": payment.id,
        "order": payment.order,
        "net_cents": net_cents,
        "key": context.idempotency_key,
    }


@dag(dag_id="record_payment", description="Book a payment.", tags=["kafka"])
def record_payment(payment: Payment) -> Any:
    """Book what is left of a payment."""
    return record(payment, net(payment))
