// Package batch reads and writes Kafka's record batch v2: the unit that
// producers send, that the log stores and that consumers receive. It checks a
// batch on the bytes as received, iterates over its records without allocating,
// builds batches, and compresses and decompresses within bounds.
//
// Most readers need [Validate] and [Iterator]; who writes batches needs
// [Builder]. Nothing here does I/O, and no input makes it panic.
//
// A batch is a header of 61 bytes and its records, all integers big endian:
//
//		0             8        12             16      17      21           23
//		| base offset | length | leader epoch | magic | crc32c | attributes |
//		23                  27               35              43            51
//		| last offset delta | base timestamp | max timestamp | producer id |
//		51               53              57      61
//		| producer epoch | base sequence | count | records...
//
//	  - base offset is that of the first record. A producer sends 0, the broker
//	    writes the place that the log gave.
//	  - length counts the bytes behind itself, so a batch is length + 12 bytes.
//	  - leader epoch is written by the broker; a producer sends -1.
//	  - magic is 2. Kafka 4 dropped formats 0 and 1 (KIP-724), and so do we.
//	  - crc32c (Castagnoli) covers everything behind itself. Base offset, leader
//	    epoch, length and magic lie before it: the first two may be patched in
//	    place, the other two are checked by their meaning.
//	  - attributes: bits 0-2 codec, bit 3 log append time, bit 4 transactional,
//	    bit 5 control batch, bit 6 delete horizon; the rest is unused.
//	  - last offset delta belongs to the last record; compaction keeps it even when
//	    that record is gone, and keeps the count honest, so count may be smaller
//	    than last offset delta + 1 in a stored batch, never in a produced one.
//	  - max timestamp is the largest timestamp by the producer's word, or the
//	    broker's clock under log append time.
//	  - producer id, producer epoch and base sequence are the idempotent
//	    producer's; a producer id of -1 means that there is none.
//
// The records follow, compressed as one piece unless the codec is [None]:
//
//	| length varint | attributes int8 | timestamp delta varlong | offset delta varint |
//	| key length varint | key | value length varint | value | header count varint | headers |
//
// and each of a record's headers is
//
//	| key length varint | key | value length varint | value |
//
// Varints are zigzag encoded, a length of -1 is null, and a record's length
// counts the bytes behind itself.
package batch
