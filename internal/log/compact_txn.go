package log

import (
	"millrace/internal/batch"
	"millrace/record"
)

// cleanedTxns follows the transactions through the batches of a pass, from the
// first on. All of them are decided: a pass ends below the last stable offset.
type cleanedTxns struct {
	aborted []AbortedTxn // to come, by first offset
	open    map[int64]openAborted
	data    map[int64]bool // producers with batches of a transaction that will commit

	// still are the places of the abort markers whose transactions had data, and so
	// of the entries that the index of the new segment needs.
	still []record.Offset
}

// openAborted is an aborted transaction that the pass is inside of.
type openAborted struct {
	txn  AbortedTxn
	data bool // there was a batch of it
}

// expect adds an aborted transaction. They come by first offset.
func (c *cleanedTxns) expect(t AbortedTxn) { c.aborted = append(c.aborted, t) }

// discards says of a batch of data whether its transaction was aborted, and of a
// marker whether it has outlived its data: none was met since its beginning.
// Every batch must be shown, in order.
func (c *cleanedTxns) discards(h batch.Header) bool {
	c.begin(h.LastOffset())
	switch {
	case h.ProducerID == batch.NoProducerID || !h.Transactional() && !h.Control():
		return false
	case h.Control():
		return c.end(h)
	}
	if t, aborted := c.open[h.ProducerID]; aborted {
		t.data = true
		c.open[h.ProducerID] = t
		return true
	}
	if c.data == nil {
		c.data = map[int64]bool{}
	}
	c.data[h.ProducerID] = true
	return false
}

// begin opens the aborted transactions that start at or before off.
func (c *cleanedTxns) begin(off record.Offset) {
	for len(c.aborted) > 0 && c.aborted[0].First <= off {
		if c.open == nil {
			c.open = map[int64]openAborted{}
		}
		c.open[c.aborted[0].ProducerID] = openAborted{txn: c.aborted[0]}
		c.aborted = c.aborted[1:]
	}
}

func (c *cleanedTxns) end(h batch.Header) (dataGone bool) {
	if t, aborted := c.open[h.ProducerID]; aborted {
		delete(c.open, h.ProducerID)
		if t.data {
			c.still = append(c.still, t.txn.Last)
		}
		return !t.data
	}
	dataGone = !c.data[h.ProducerID]
	delete(c.data, h.ProducerID)
	return dataGone
}

// takeStill is still, which begins anew.
func (c *cleanedTxns) takeStill() []record.Offset {
	still := c.still
	c.still = nil
	return still
}

// lastOffset is that of the newest batch of data; -1 when there is only a marker.
func (p *producer) lastOffset() record.Offset {
	if p.count == 0 {
		return -1
	}
	return p.batches[p.count-1].lastOffset
}

// addAborted takes over the entries of an old segment's index of aborted
// transactions, those with their marker at one of the given offsets.
func (w *segmentWriter) addAborted(old *segment, markers []record.Offset) error {
	if len(markers) == 0 || w.log.store.opts.faults.compaction.loseAborted {
		return nil
	}
	f, err := old.openIndex(&old.txns, txnFile)
	if err != nil {
		return err
	}
	if f == nil {
		return errNoTxnIndex
	}
	defer old.txns.release()
	entries := entryReader{file: f, size: abortedEntrySize, count: old.aborted.Load()}
	for i := int64(0); i < entries.count && len(markers) > 0; i++ {
		b, err := entries.at(i)
		if err != nil {
			return err
		}
		if e := decodeAborted(b); e.Last == markers[0] {
			if err := w.aborted.stage(e); err != nil {
				return err
			}
			w.aborted.commit()
			markers = markers[1:]
		}
	}
	if len(markers) > 0 {
		return errNoTxnIndex
	}
	return nil
}
