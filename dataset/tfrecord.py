"""TFRecord files and the message `tf.train.Example`, without TensorFlow, whose import takes seconds and 700 MB.

The bytes are those that TensorFlow writes. A file holds for each record its length (8 bytes, little-endian), a checksum of
the length, the record, and a checksum of the record. A checksum is CRC-32C (RFC 3720), rotated and shifted as
tensorflow/core/lib/hash/crc32c.h does.
"""

import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import google_crc32c

MASK_DELTA = 0xA282EAD8
# tensorflow/core/example/{feature,example}.proto, as descriptors.
EXAMPLE_PROTO = """
name: "example.proto" package: "dataset" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type {
  name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 label: LABEL_OPTIONAL type_name: ".dataset.BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 label: LABEL_OPTIONAL type_name: ".dataset.FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 label: LABEL_OPTIONAL type_name: ".dataset.Int64List" oneof_index: 0 }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: ".dataset.Features.FeatureEntry" }
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type_name: ".dataset.Feature" }
  }
}
message_type {
  name: "Example" field { name: "features" number: 1 label: LABEL_OPTIONAL type_name: ".dataset.Features" }
}
"""


@functools.cache
def example_class() -> Any:
    """Return the message class `Example`, with the interface of `tf.train.Example`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = text_format.Parse(EXAMPLE_PROTO, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()  # its own: TensorFlow may be imported in the same process
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("dataset.Example"))


def write(file: IO[bytes], record: bytes) -> None:
    """Append a record to an open file.

    Raises:
        OSError: the file cannot be written.
    """
    length = struct.pack("<Q", len(record))
    file.write(length + _masked_crc(length) + record + _masked_crc(record))


def read(path: Path) -> Iterator[bytes]:
    """Yield the records of a file.

    Raises:
        ValueError: the file is cut short, or a checksum is wrong.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        while length := file.read(8):
            if file.read(4) != _masked_crc(length):
                raise ValueError(f"{path}: a wrong checksum before byte {file.tell():,}")
            (size,) = struct.unpack("<Q", length)
            record = file.read(size)
            if len(record) < size or file.read(4) != _masked_crc(record):
                raise ValueError(f"{path}: a wrong checksum before byte {file.tell():,}")
            yield record


def _masked_crc(data: bytes) -> bytes:
    """Return the checksum of a record or of its length."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF)
