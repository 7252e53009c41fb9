package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"millrace/record"
)

// A producer snapshot is Kafka's, version 1, big endian:
//
//	0          2             6             10
//	| version  | crc32c of   | entry       | entries of 46 bytes
//	| int16: 1 | what follows| count int32 |
//
// and an entry is
//
//	| producer id int64 | epoch int16 | last sequence int32 | last offset int64 |
//	| offset delta int32 | timestamp int64 | coordinator epoch int32 |
//	| current transaction's first offset int64 |
//
// Kafka writes one entry per producer. We write one per remembered batch, oldest
// first: Kafka's reader keeps the last one, ours keeps all. A producer without a
// batch has one entry with sequence and offset -1.
//
// The mark of the index of aborted transactions has the form of a producer with
// id -1 that was active in 1970, whom Kafka's reader drops as expired: its last
// sequence is the CRC-32C, its last offset the segment, its offset delta the count.
const (
	snapshotVersion   = 1
	snapshotHeader    = 10
	snapshotEntrySize = 46
	crcEnd            = 6 // the checksum covers from here on
)

func (s *producers) encode() []byte {
	entries := 0
	if s.aborted.count > 0 {
		entries = 1
	}
	for _, p := range s.byID {
		entries += max(1, int(p.count))
	}
	b := make([]byte, crcEnd, snapshotHeader+entries*snapshotEntrySize)
	b = binary.BigEndian.AppendUint32(b, uint32(entries))
	if s.aborted.count > 0 {
		b = s.aborted.append(b)
	}
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		p := s.byID[id]
		if p.count == 0 {
			b = appendSnapshotEntry(b, id, p, producerBatch{lastSequence: noSequence, lastOffset: -1})
		}
		for _, kept := range p.batches[:p.count] {
			b = appendSnapshotEntry(b, id, p, kept)
		}
	}
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[crcEnd:], castagnoli))
	return b
}

func (m abortedMark) append(b []byte) []byte {
	return appendSnapshotEntry(b, sealProducer, newProducer(0), producerBatch{
		lastSequence: int32(m.crc), lastOffset: m.base, delta: int32(m.count),
	})
}

func appendSnapshotEntry(b []byte, id int64, p *producer, kept producerBatch) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, uint64(id))
	b = be.AppendUint16(b, uint16(p.epoch))
	b = be.AppendUint32(b, uint32(kept.lastSequence))
	b = be.AppendUint64(b, uint64(kept.lastOffset))
	b = be.AppendUint32(b, uint32(kept.delta))
	b = be.AppendUint64(b, uint64(p.lastMs))
	b = be.AppendUint32(b, uint32(p.coordinatorEpoch))
	return be.AppendUint64(b, uint64(p.txnFirst))
}

// decodeSnapshot reads our snapshots and Kafka's.
func decodeSnapshot(b []byte) (*producers, error) {
	be := binary.BigEndian
	switch {
	case len(b) < snapshotHeader:
		return nil, fmt.Errorf("%d bytes are too few", len(b))
	case be.Uint16(b) != snapshotVersion:
		return nil, fmt.Errorf("version %d, only %d is known", be.Uint16(b), snapshotVersion)
	case be.Uint32(b[2:]) != crc32.Checksum(b[crcEnd:], castagnoli):
		return nil, errors.New("wrong checksum")
	case int64(be.Uint32(b[crcEnd:]))*snapshotEntrySize != int64(len(b)-snapshotHeader):
		return nil, fmt.Errorf("%d entries announced in %d bytes", be.Uint32(b[crcEnd:]), len(b))
	}
	s := &producers{byID: make(map[int64]*producer)}
	for e := b[snapshotHeader:]; len(e) > 0; e = e[snapshotEntrySize:] {
		s.restore(e)
	}
	return s, nil
}

func (s *producers) restore(e []byte) {
	be := binary.BigEndian
	id, epoch := int64(be.Uint64(e)), int16(be.Uint16(e[8:]))
	kept := producerBatch{lastSequence: int32(be.Uint32(e[10:])), lastOffset: record.Offset(be.Uint64(e[14:])), delta: int32(be.Uint32(e[22:]))}
	if id == sealProducer {
		s.aborted = abortedMark{base: kept.lastOffset, count: int64(max(0, kept.delta)), crc: uint32(kept.lastSequence)}
		return
	}
	p := s.byID[id]
	if p == nil || p.epoch != epoch {
		p = newProducer(epoch)
		s.byID[id] = p
	}
	p.lastMs = int64(be.Uint64(e[26:]))
	p.coordinatorEpoch = int32(be.Uint32(e[34:]))
	p.txnFirst = max(noTxn, record.Offset(be.Uint64(e[38:])))
	if kept.lastSequence >= 0 && kept.lastOffset >= 0 {
		p.add(kept)
	}
}
