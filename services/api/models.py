"""The api service's tables."""

from sqlalchemy import BigInteger, Column, Index
from sqlmodel import Field

from shared.db.naming import Table, id_text


class User(Table, table=True):
    """`email_key` is the address in lower case: one account for each of them in a tenant, on both databases alike."""

    __tablename__ = "api_users"
    __table_args__ = (Index("uq_api_users_tenant_email_key", "tenant", "email_key", unique=True),)

    id: str = Field(sa_column=Column(id_text(), primary_key=True))
    tenant: str = Field(sa_column=Column(id_text(), nullable=False))
    email: str
    email_key: str = Field(sa_column=Column(id_text(), nullable=False))
    name: str
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
