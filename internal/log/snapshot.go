package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
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
// first: Kafka's reader keeps the last one, ours keeps all.
const (
	snapshotVersion   = 1
	snapshotHeader    = 10
	snapshotEntrySize = 46
	crcEnd            = 6 // the checksum covers from here on
)

func (s *producers) encode() []byte {
	entries := 0
	for _, p := range s.byID {
		entries += int(p.count)
	}
	b := make([]byte, crcEnd, snapshotHeader+entries*snapshotEntrySize)
	b = binary.BigEndian.AppendUint32(b, uint32(entries))
	for _, id := range slices.Sorted(maps.Keys(s.byID)) {
		p := s.byID[id]
		for _, kept := range p.batches[:p.count] {
			b = appendSnapshotEntry(b, id, p.epoch, kept)
		}
	}
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[crcEnd:], castagnoli))
	return b
}

func appendSnapshotEntry(b []byte, id int64, epoch int16, kept producerBatch) []byte {
	be := binary.BigEndian
	b = be.AppendUint64(b, uint64(id))
	b = be.AppendUint16(b, uint16(epoch))
	b = be.AppendUint32(b, uint32(kept.lastSequence))
	b = be.AppendUint64(b, uint64(kept.lastOffset))
	b = be.AppendUint32(b, uint32(kept.delta))
	b = be.AppendUint64(b, uint64(kept.timeMs))
	b = be.AppendUint32(b, math.MaxUint32)    // no coordinator epoch: -1
	return be.AppendUint64(b, math.MaxUint64) // no open transaction: -1
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
	p := s.byID[id]
	if p == nil || p.epoch != epoch {
		p = &producer{epoch: epoch}
		s.byID[id] = p
	}
	p.add(producerBatch{
		lastSequence: int32(be.Uint32(e[10:])),
		lastOffset:   record.Offset(be.Uint64(e[14:])),
		delta:        int32(be.Uint32(e[22:])),
		timeMs:       int64(be.Uint64(e[26:])),
	})
}
