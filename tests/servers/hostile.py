"""A server whose every path is another way to hurt its client."""

import asyncio
import zlib

from tests.servers.wire import Received, respond

MEBIBYTE = 1024 * 1024
_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"transfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n"


def bomb(size: int, *, gzip: bool = True) -> bytes:
    """Give `size` MiB of zeros as a stream of one repeated block, about a thousandth of that."""
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" if gzip else b"\x78\x9c"
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return header + block * size + b"\x03\x00"


async def hostile(request: Received, writer: asyncio.StreamWriter) -> None:
    """Answer by the path, which is the name of a function below."""
    await _WAYS[request.target.strip("/")](writer)


async def _large_body(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"content-length: 104857600\r\n\r\n")
    await _flood(writer, b"x" * 65536, 1600)


async def _endless_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(_CHUNKED)
    await _flood(writer, b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def _tiny_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(_CHUNKED)
    await _flood(writer, b"1\r\nx\r\n" * 10_000)


async def _huge_chunk(writer: asyncio.StreamWriter) -> None:
    writer.write(_CHUNKED + b"FFFFFFFFFFFFFFFF\r\n")
    await _flood(writer, b"x" * 65536)


async def _negative_chunk(writer: asyncio.StreamWriter) -> None:
    writer.write(_CHUNKED + b"-1\r\n\r\n0\r\n\r\n")


async def _chunk_extension(writer: asyncio.StreamWriter) -> None:
    writer.write(_CHUNKED + b"1;")
    await _flood(writer, b"a=" + b"b" * 8000 + b";")


async def _endless_trailers(writer: asyncio.StreamWriter) -> None:
    writer.write(_CHUNKED + b"0\r\n")
    await _flood(writer, b"x-trailer: " + b"y" * 8000 + b"\r\n")


async def _two_lengths(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"content-length: 1\r\ncontent-length: 5\r\n\r\nhello")


async def _endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD)
    await _flood(writer, b"x-filler: " + b"y" * 8000 + b"\r\n")


async def _many_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD)
    await _flood(writer, b"a: b\r\n" * 1000)


async def _endless_header_line(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"x-line: ")
    await _flood(writer, b"y" * 65536)


async def _endless_continues(writer: asyncio.StreamWriter) -> None:
    await _flood(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


async def _no_http(writer: asyncio.StreamWriter) -> None:
    await _flood(writer, b"\x00" * 65536)


async def _byte_a_second(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"content-length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(1)


async def _silence(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.Event().wait()


async def _gzip_bomb(writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, bomb(1024), {"content-encoding": "gzip", "content-type": "text/plain"})


async def _small_gzip_bomb(writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, bomb(200), {"content-encoding": "gzip", "content-type": "text/plain"})


async def _deflate_bomb(writer: asyncio.StreamWriter) -> None:
    body = bomb(1024, gzip=False)
    respond(writer, 200, body, {"content-encoding": "deflate", "content-type": "text/plain"})


async def _gzip_in_gzip(writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, bomb(64), {"content-encoding": "gzip, gzip"})


async def _brotli(writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, b"\x0b\x02\x80hello\x03", {"content-encoding": "br"})


async def _zstd(writer: asyncio.StreamWriter) -> None:
    respond(writer, 200, b"\x28\xb5\x2f\xfd", {"content-encoding": "zstd"})


async def _deep_json(writer: asyncio.StreamWriter) -> None:
    _json(writer, b"[" * 500_000 + b"]" * 500_000)


async def _deep_objects(writer: asyncio.StreamWriter) -> None:
    _json(writer, b'{"a":' * 150_000 + b"1" + b"}" * 150_000)


async def _wide_json(writer: asyncio.StreamWriter) -> None:
    _json(writer, b"[" + b"[]," * 340_000 + b"[]]")


async def _large_json(writer: asyncio.StreamWriter) -> None:
    _json(writer, b'"' + b"x" * (3 * MEBIBYTE) + b'"')


def _json(writer: asyncio.StreamWriter, body: bytes) -> None:
    respond(writer, 200, body, {"content-type": "application/json"})


async def _flood(writer: asyncio.StreamWriter, part: bytes, times: int | None = None) -> None:
    while not writer.is_closing() and (times is None or times > 0):
        writer.write(part)
        await writer.drain()
        times = None if times is None else times - 1


_WAYS = {
    name.removeprefix("_"): way
    for name, way in list(globals().items())
    if asyncio.iscoroutinefunction(way) and name.startswith("_") and name != "_flood"
}
