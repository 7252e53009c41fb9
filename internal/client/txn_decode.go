package client

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/record"
)

// decoder takes apart what brokers answer to read_committed fetches: batch by
// batch into columns, without the records of aborted transactions and without
// markers. It is for one goroutine.
type decoder struct {
	it      batch.Iterator
	decoder batch.Decoder
	aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction // to come, ascending first offset
	inside  map[int64]bool                                       // producers inside an aborted transaction
}

// begin starts with the answer for one partition. The broker lists the aborted
// transactions that overlap it, by producer and first offset; each ends at the
// producer's abort marker.
func (d *decoder) begin(aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	d.aborted = append(d.aborted[:0], aborted...)
	slices.SortFunc(d.aborted, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	clear(d.inside)
}

// batch appends to c the committed records of one batch, from an offset on. Keys
// and values of a compressed batch are valid until the next one, unless release
// is called before. The error, one of package batch, means damage; c may then
// hold some of the batch's records.
func (d *decoder) batch(b []byte, from record.Offset, c *batch.Columns) (batch.Header, error) {
	h, err := batch.CheckCRC(b)
	if err != nil {
		return h, err
	}
	if h.LastOffset() < from {
		return h, nil
	}
	for len(d.aborted) > 0 && record.Offset(d.aborted[0].FirstOffset) <= h.LastOffset() {
		if d.inside == nil {
			d.inside = make(map[int64]bool)
		}
		d.inside[d.aborted[0].ProducerID] = true
		d.aborted = d.aborted[1:]
	}
	if h.Transactional() && !h.Control() && d.inside[h.ProducerID] {
		return h, nil
	}
	if err := d.it.Reset(b, &d.decoder); err != nil {
		return h, err
	}
	if h.Control() {
		d.marker(h)
		return h, d.it.Err()
	}
	return h, d.it.AppendTo(c, from)
}

// marker reads a control batch: an abort ends the aborted transaction of its
// producer. Other kinds mean nothing to a reader.
func (d *decoder) marker(h batch.Header) {
	for d.it.Next() {
		if _, kind, err := batch.ParseControl(d.it.Record().Key); err == nil && kind == batch.ControlAbort {
			delete(d.inside, h.ProducerID)
		}
	}
}

// release gives the bytes of the last batch to its records: they may be kept.
func (d *decoder) release() { d.decoder.Release() }
