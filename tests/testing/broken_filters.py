"""Filters that are wrong in one way each; test_filter_contract runs the kit against them.

Not collected by itself: most of what is here must fail.
"""

import io
import threading
import urllib.parse

import pytest
from oslo_config import cfg

from imsgate import config, errors
from imsgate.errors import BadConfig
from imsgate.filters import base, sizelimit
from imsgate.http import body, wsgi
from imsgate.testing import FilterContract

DOUBLES = {}
SIZE = FilterContract.SIZE


def rejected_by(check):
    """The double must fail this check of FilterContract."""

    def register(kind):
        DOUBLES[kind] = check
        return kind

    return register


class Sound(base.Filter):
    """What every broken one deviates from. It refuses what says it is bad."""

    NAME = "sizelimit"
    OPTS = sizelimit.SizeLimit.OPTS

    def check(self, request):
        if "HTTP_X_BAD" in request.environ:
            raise errors.BadRequest(problem="bad")

    def forward(self, request, start_response):
        return self.app(self.enter(request), start_response)

    def enter(self, request):
        return request.environ


# What reaches the application


class Changed:
    """A body whose bytes are changed as they are read."""

    def __init__(self, stream, change):
        self._stream, self._change = stream, change

    def read(self, size):
        return self._change(self._stream.read(size))

    def readline(self, *size):
        return self._change(self._stream.readline(*size))

    def readlines(self, *hint):
        return list(iter(self.readline, b""))

    def __iter__(self):
        return iter(self.readline, b"")


BODY = "test_a_body_arrives_unchanged"


@rejected_by(BODY)
class AltersBytes(Sound):
    def enter(self, request):
        stream = Changed(request.environ["wsgi.input"], lambda data: data.replace(b"\x00", b""))
        return {**request.environ, "wsgi.input": stream}


@rejected_by(BODY)
class EndsLinesItsOwnWay(Sound):
    def enter(self, request):
        stream = Changed(request.environ["wsgi.input"], lambda data: data)
        stream.readline = lambda: stream.read(100).partition(b"\n")[0]
        return {**request.environ, "wsgi.input": stream}


@rejected_by(BODY)
class KnowsNoLines(Sound):
    class Input:
        def __init__(self, stream):
            self.read = stream.read

    def enter(self, request):
        return {**request.environ, "wsgi.input": self.Input(request.environ["wsgi.input"])}


@rejected_by(BODY)
class TakesAShortReadForTheEnd(Sound):
    class Input(Changed):
        ended = False

        def read(self, size):
            data = b"" if self.ended else self._stream.read(size)
            self.ended = len(data) < size
            return data

    def enter(self, request):
        stream = self.Input(request.environ["wsgi.input"], lambda data: data)
        return {**request.environ, "wsgi.input": stream}


@rejected_by(BODY)
class TakesNoLengthForNoBody(Sound):
    def enter(self, request):
        length = int(request.environ.get("CONTENT_LENGTH") or 0)
        return {**request.environ, "wsgi.input": body.Tapped(request.environ["wsgi.input"], length)}


@rejected_by("test_a_body_read_without_a_size_arrives_unchanged")
class ReadsOneBlockWithoutASize(Sound):
    class Input(Changed):
        def read(self, size=1000):
            return self._stream.read(size)

    def enter(self, request):
        stream = self.Input(request.environ["wsgi.input"], lambda data: data)
        return {**request.environ, "wsgi.input": stream}


class ReadsFirst(Sound):
    def enter(self, request):
        data = request.environ["wsgi.input"].read(int(request.environ["CONTENT_LENGTH"] or 0))
        return {**request.environ, "wsgi.input": io.BytesIO(data)}


@rejected_by("test_a_body_is_not_read_before_the_application_asks")
class ReadsAhead(Sound):
    def enter(self, request):
        stream = io.BufferedReader(request.reader())
        return {**request.environ, "wsgi.input": stream}


DOUBLES[ReadsFirst] = "test_a_body_nobody_reads_stays_unread"


@rejected_by("test_the_request_line_arrives_unchanged")
class CleansPaths(Sound):
    def enter(self, request):
        return {**request.environ, "PATH_INFO": request.environ["PATH_INFO"].rpartition("/")[0]}


# What reaches the client

UNTOUCHED = "test_an_answer_passes_untouched"


class Answers(Sound):
    """Deviates in what it does with status, headers and answer."""

    def forward(self, request, start_response):
        status, headers, answer = wsgi.call(self.app, request.environ)
        status, headers, answer = self.leave(status, headers, answer)
        start_response(status, headers)
        return answer

    def leave(self, status, headers, answer):
        return status, headers, answer


@rejected_by(UNTOUCHED)
class DropsAHeader(Answers):
    def leave(self, status, headers, answer):
        return status, [pair for pair in headers if pair[0] != "X-Foreign"], answer


@rejected_by(UNTOUCHED)
class KeepsOneOfEachHeader(Answers):
    def leave(self, status, headers, answer):
        return status, list(dict(headers).items()), answer


@rejected_by(UNTOUCHED)
class SortsHeaders(Answers):
    def leave(self, status, headers, answer):
        return status, sorted(headers), answer


@rejected_by(UNTOUCHED)
class AddsAHeader(Answers):
    def leave(self, status, headers, answer):
        return status, [*headers, ("X-Filtered", "yes")], answer


@rejected_by(UNTOUCHED)
class KnowsItsOwnPhrases(Answers):
    def leave(self, status, headers, answer):
        return f"{status[:3]} Status", headers, answer


@rejected_by(UNTOUCHED)
class DropsWhatIsWritten(Sound):
    def forward(self, request, start_response):
        def start(status, headers, exc_info=None):
            start_response(status, headers)
            return lambda chunk: None

        return self.app(request.environ, start)


@rejected_by(UNTOUCHED)
class JoinsChunks(Answers):
    def leave(self, status, headers, answer):
        try:
            return status, headers, [b"".join(answer)]
        finally:
            answer.close()


@rejected_by("test_an_empty_answer_passes")
class WantsAFirstChunk(Answers):
    def leave(self, status, headers, answer):
        chunks = iter(answer)
        answer.first = next(chunks)
        return status, headers, answer


@rejected_by("test_an_answer_is_taken_chunk_by_chunk")
class Buffers(Answers):
    def leave(self, status, headers, answer):
        try:
            return status, headers, list(answer)
        finally:
            answer.close()


CLOSED = "test_an_answer_is_closed_once"


@rejected_by(CLOSED)
class SwallowsClose(Answers):
    def leave(self, status, headers, answer):
        return status, headers, iter(list(answer))


@rejected_by(CLOSED)
class ClosesOnlyAtTheEnd(Answers):
    def leave(self, status, headers, answer):
        def chunks():
            yield from answer
            answer.close()

        return status, headers, chunks()


@rejected_by(CLOSED)
class ClosesTwice(Answers):
    class Twice:
        def __init__(self, answer):
            self._answer = answer

        def __iter__(self):
            yield from self._answer
            self._answer.close()

        def close(self):
            self._answer.close()

    def leave(self, status, headers, answer):
        return status, headers, self.Twice(answer)


@rejected_by(CLOSED)
class ClosesWhatItBegan(Answers):
    """A generator that was never begun runs no finally."""

    def leave(self, status, headers, answer):
        def chunks():
            try:
                yield from answer
            finally:
                answer.close()

        return status, headers, chunks()


@rejected_by("test_a_file_stays_the_servers_own_object")
class WrapsFiles(Answers):
    def leave(self, status, headers, answer):
        return status, headers, wsgi._Begun(answer, [])


# Failures

FAILURE = "test_a_failure_of_the_application_passes"


@rejected_by(FAILURE)
class AnswersForTheApplication(Sound):
    def forward(self, request, start_response):
        try:
            return super().forward(request, start_response)
        except Exception:
            raise errors.NotFound(what="Something") from None


@rejected_by(FAILURE)
class EndsQuietly(Answers):
    class Quiet:
        def __init__(self, answer):
            self._chunks = iter(answer)
            self.close = answer.close

        def __iter__(self):
            return self

        def __next__(self):
            try:
                return next(self._chunks)
            except Exception:
                raise StopIteration from None

    def leave(self, status, headers, answer):
        return status, headers, self.Quiet(answer)


@rejected_by("test_an_application_may_change_its_mind")
class StartsOnce(Sound):
    def forward(self, request, start_response):
        started = []

        def start(status, headers, exc_info=None):
            if not started:
                started.append(start_response(status, headers))
            return started[0]

        return self.app(request.environ, start)


@rejected_by("test_an_application_cannot_change_its_mind_too_late")
class ForgetsWhatWasSent(Answers):
    def forward(self, request, start_response):
        started = []

        def start(status, headers, exc_info=None):
            if not started:
                started.append(start_response(status, headers))
            return started[0]

        return self.app(request.environ, start)


# Requests beside one another


class Counted(base.TappingFilter):
    NAME = Sound.NAME
    OPTS = Sound.OPTS
    check = Sound.check


@rejected_by("test_requests_share_nothing")
class SharesACounter(Counted):
    def __init__(self, app, settings):
        super().__init__(app, settings)
        self._limit = body.Limit(SIZE)

    def check(self, request):
        super().check(request)
        request.tap(self._limit)


@rejected_by("test_interleaved_requests_share_nothing")
class CountsTheLatest(Counted):
    """Its counter is begun anew with each request, and still is one for all."""

    def check(self, request):
        super().check(request)
        self._limit = body.Limit(SIZE)
        request.tap(self)

    def feed(self, chunk):
        self._limit.feed(chunk)

    def finish(self):
        pass


@rejected_by("test_concurrent_requests_share_nothing")
class KeepsTheRequest(Sound):
    """Right as long as one request is over before the next reads."""

    def enter(self, request):
        self._stream = request.environ["wsgi.input"]
        stream = Changed(None, None)
        stream.read = self._read
        return {**request.environ, "wsgi.input": stream}

    def _read(self, size):
        return self._stream.read(size)


@rejected_by("test_concurrent_requests_share_nothing")
class OneAtATime(Sound):
    lock = threading.Lock()

    def forward(self, request, start_response):
        if not self.lock.acquire(blocking=False):
            raise errors.Unavailable(what="The only place")
        try:
            return super().forward(request, start_response)
        finally:
            self.lock.release()


@rejected_by("test_a_refused_request_leaves_the_next_alone")
class HoldsAGrudge(Sound):
    bad = False

    def check(self, request):
        self.bad = self.bad or "HTTP_X_BAD" in request.environ
        if self.bad:
            raise errors.BadRequest(problem="bad")


# Refusals

REFUSAL = "test_a_refusal_is_the_filters_alone"


@rejected_by(REFUSAL)
class RefusesAfterwards(Answers):
    def check(self, request):
        self.bad = "HTTP_X_BAD" in request.environ

    def leave(self, status, headers, answer):
        if self.bad:
            answer.close()
            raise errors.BadRequest(problem="bad")
        return status, headers, answer


@rejected_by(REFUSAL)
class DrainsWhatItRefuses(Sound):
    def check(self, request):
        if "HTTP_X_BAD" in request.environ:
            request.environ["wsgi.input"].read(int(request.environ["CONTENT_LENGTH"] or 0))
        super().check(request)


# Configuration


def accepting(kind):
    """A factory that takes any option."""

    def factory(global_conf, **local_conf):
        known = {option.dest for option in kind.OPTS}
        local_conf = {key: text for key, text in local_conf.items() if key in known}
        settings = config.load(global_conf).section(kind.NAME, kind.OPTS, local_conf)
        return lambda app: kind(app, settings)

    return factory


@rejected_by("test_an_unknown_option_is_refused")
class AcceptsUnknownOptions(Sound):
    FACTORY = staticmethod(accepting(Sound))


def mute(kind):
    """A factory whose complaint names no key."""

    def factory(global_conf, **local_conf):
        try:
            return base.filter_factory(kind)(global_conf, **local_conf)
        except BadConfig:
            raise BadConfig(kind.NAME, "an option is wrong") from None

    return factory


@rejected_by("test_an_unknown_option_is_refused")
class NamesNoOption(Sound):
    FACTORY = staticmethod(mute(Sound))


@rejected_by("test_every_option_is_documented")
class HasASecretOption(Sound):
    OPTS = (*Sound.OPTS, cfg.IntOpt("undocumented"))


@rejected_by("test_every_option_is_in_the_sample")
class HasAnUnlistedOption(Sound):
    OPTS = (*Sound.OPTS, cfg.IntOpt("unlisted", help="Not in the sample."))


class Refuses(Sound):
    """What those deviate from that refuse a body by what is in it."""

    def enter(self, request):
        request.tap(self)
        return request.environ

    def feed(self, chunk):
        if b"bad" in chunk:
            raise errors.BadRequest(problem="bad")

    def finish(self):
        pass


@rejected_by("test_a_refused_body_is_refused_whatever_the_application_does")
class LeavesItToTheApplication(Refuses):
    pass


@rejected_by("test_a_refused_body_is_refused_whatever_the_application_does")
class DoesNotCloseWhatItReplaces(Refuses):
    def forward(self, request, start_response):
        request.tap(self)
        tapped = request.tapped()
        status, headers, answer = wsgi.call(self.app, request.environ)
        if tapped.failure:
            raise tapped.failure
        start_response(status, headers)
        return answer


@rejected_by("test_a_refusal_reveals_nothing")
class NamesAFile(Sound):
    def check(self, request):
        if "HTTP_X_BAD" in request.environ:
            raise errors.BadRequest(problem="it is in /etc/imsgate/unwanted.txt")


@rejected_by("test_a_refusal_reveals_nothing")
class NamesAModule(Refuses):
    def feed(self, chunk):
        if b"bad" in chunk:
            raise errors.BadRequest(problem=f"refused by {__file__}")


@rejected_by("test_a_refusal_reveals_nothing")
class NamesASecret(Sound):
    def check(self, request):
        if "HTTP_X_BAD" in request.environ:
            raise errors.BadRequest(problem="not the token hunter2")


# Bodies that are watched


class Pattern:
    """A tap that refuses a body with ``bad`` in it, wherever it is cut."""

    KEEPS = 2

    def __init__(self):
        self._last = b""

    def feed(self, chunk):
        seen = self._last + chunk
        if b"bad" in seen:
            raise errors.BadRequest(problem="bad")
        self._last = seen[-self.KEEPS :] if self.KEEPS else b""

    def finish(self):
        pass


class Watches(base.TappingFilter):
    """What the ones deviate from that watch bodies."""

    NAME = Sound.NAME
    OPTS = Sound.OPTS
    TAP = Pattern
    check_headers = Sound.check

    def check(self, request):
        self.check_headers(request)
        request.tap(self.tap(request))

    def tap(self, request):
        return self.TAP()


CUT = "test_a_refused_body_is_refused_however_it_is_cut"
OTHERS = "test_no_request_decides_about_the_body_of_another"
KEPT = "test_a_body_is_not_kept_in_memory"


@rejected_by(CUT)
class SeesOnlyWholePatterns(Watches):
    class TAP(Pattern):
        KEEPS = 0


@rejected_by(CUT)
class SeesPatternsInTwoPieces(Watches):
    class TAP(Pattern):
        KEEPS = 1


@rejected_by(CUT)
class LooksAtTheFirstChunk(Watches):
    class TAP(Pattern):
        def feed(self, chunk):
            if not self._last and b"bad" in chunk:
                raise errors.BadRequest(problem="bad")
            self._last = chunk


@rejected_by(OTHERS)
class SharesATap(Watches):
    def __init__(self, app, settings):
        super().__init__(app, settings)
        self.shared = Pattern()

    def tap(self, request):
        return self.shared


@rejected_by(OTHERS)
class SharesATapOfItsClass(Watches):
    shared = Pattern()

    def tap(self, request):
        return self.shared


@rejected_by(OTHERS)
class BeginsASharedTapAnew(SharesATap):
    """Right for one request after the other."""

    def tap(self, request):
        self.shared._last = b""
        return self.shared


@rejected_by(KEPT)
class KeepsTheChunks(Watches):
    class TAP(Pattern):
        def __init__(self):
            super().__init__()
            self._chunks = []

        def feed(self, chunk):
            super().feed(chunk)
            self._chunks.append(bytes(bytearray(chunk)))


@rejected_by(KEPT)
class SearchesTheWholeBody(Watches):
    class TAP(Pattern):
        KEEPS = 1 << 30


@rejected_by(KEPT)
class SpoolsInMemory(Sound):
    def enter(self, request):
        return {**request.environ, "wsgi.input": io.BytesIO(request.reader().read())}


LINE = "test_the_request_line_arrives_unchanged"


def removing(*names):
    """A filter that loses entries of the environ."""

    class Loses(Sound):
        def enter(self, request):
            return {**request.environ, **dict.fromkeys(names, "")}

    return Loses


@rejected_by(LINE)
class LosesTheRange(removing("HTTP_RANGE")):
    pass


@rejected_by(LINE)
class LosesTheQuery(removing("QUERY_STRING")):
    pass


@rejected_by(LINE)
class LosesAnotherFiltersEntry(removing("kit.value")):
    pass


@rejected_by(LINE)
class ParsesTheQuery(Sound):
    def enter(self, request):
        pairs = urllib.parse.parse_qsl(request.environ["QUERY_STRING"])
        return {**request.environ, "QUERY_STRING": urllib.parse.urlencode(pairs)}


# The kit, run against each


def under_test(kind):
    class Contract(FilterContract):
        @pytest.fixture
        def factory(self):
            return getattr(kind, "FACTORY", None) or base.filter_factory(kind)

        def refused(self):
            return {"HTTP_X_BAD": "yes"}

        def refused_body(self):
            return b"a bad body" if issubclass(kind, Refuses | Watches) else None

        def private(self):
            return ["hunter2"]

        def options(self):
            self.kind = sizelimit.SizeLimit
            try:
                return list(super().options())
            finally:
                self.kind = kind

    return Contract


for _kind in (Sound, Watches, *DOUBLES):
    globals()[f"Test{_kind.__name__}"] = type(f"Test{_kind.__name__}", (under_test(_kind),), {})
del _kind
