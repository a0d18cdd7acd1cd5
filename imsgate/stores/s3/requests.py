"""How requests are sent: again if a response is incomplete, and with errors translated."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from imsgate import errors
from imsgate.stores.s3 import failures
from imsgate.stores.s3.body import Stopped
from imsgate.stores.s3.client import Client
from imsgate.stores.s3.options import S3Settings

#: What a failed request may raise.
_FAILURES = (BotoCoreError, ClientError, ResponseParserError, Stopped)

#: How to tell that a response is complete: a member that it must have, or a predicate.
Complete = str | Callable[[Mapping[str, Any]], bool] | None


class Requests:
    """Sends requests for one bucket. All raise StoreFull, StoreUnavailable or StoreDenied."""

    def __init__(self, store: str, settings: S3Settings, attempts: int) -> None:
        """``store`` is named in errors; ``attempts`` is how often a request is sent at most."""
        self.store = store
        self._bucket = str(settings.s3_store_bucket)
        self._attempts = attempts
        self._client = Client(settings, attempts)
        self._conditional = settings.s3_store_conditional_writes

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def call(self, operation: str, complete: Complete = None, /, **params: Any) -> Any:
        """The response to a request. It is repeated while ``complete`` finds it incomplete.

        If the connection breaks within the header of a response, botocore returns the response
        without the rest of its headers and without an error.
        """
        for repeated in range(self._attempts):
            try:
                reply = getattr(self._client.get(), operation)(**{"Bucket": self._bucket, **params})
            except _FAILURES as error:
                raise failures.translate(self.store, operation, error) from None
            if _is_complete(reply, complete):
                reply["ResponseMetadata"]["RetryAttempts"] += repeated
                return reply
            if "Body" in params:
                params["Body"].seek(0)
        raise failures.cut_short(self.store)

    def write(self, operation: str, complete: Complete = None, /, **params: Any) -> Any:
        """A request that must not overwrite an object, if the service supports that."""
        if self._conditional:
            try:
                return self.call(operation, complete, **params, IfNoneMatch="*")
            except failures.OperationUnsupported:
                self._conditional = False
                if "Body" in params:
                    params["Body"].seek(0)
        return self.call(operation, complete, **params)

    def pages(self, operation: str, **params: Any) -> Iterator[Mapping[str, Any]]:
        """The pages of a list."""
        paginator = self._client.get().get_paginator(operation)
        pages = iter(paginator.paginate(Bucket=self._bucket, **params))
        while True:
            try:
                page = next(pages, None)
            except _FAILURES as error:
                raise failures.translate(self.store, operation, error) from None
            if page is None:
                return
            if "IsTruncated" not in page:
                raise failures.cut_short(self.store)
            yield page

    def url(self, key: str, lifetime: int) -> str:
        """A URL with which anyone can GET the object for ``lifetime`` seconds."""
        params = {"Bucket": self._bucket, "Key": key}
        client = self._client.get()
        return str(client.generate_presigned_url("get_object", params, ExpiresIn=lifetime))

    def check_keys(self) -> None:
        """Raises KeysRefused if no request with these keys can succeed, for any bucket."""
        try:
            self._client.get().list_buckets()
        except _FAILURES as error:
            failure = failures.translate(self.store, "list_buckets", error)
            denied = isinstance(failure, errors.StoreDenied)
            if denied and not isinstance(failure, failures.KeysRefused):
                return  # the keys are right, but do not permit this request
            if not isinstance(failure, failures.OperationUnsupported):
                raise failure from None


def _is_complete(reply: Mapping[str, Any], complete: Complete) -> bool:
    if complete is None:
        return True
    return complete(reply) if callable(complete) else complete in reply
