package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/auth"
	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/wire"
	"millrace/record"
)

// fetchCall is one Fetch request on its way. The handler finds the partitions;
// the reply waits for records and reads them. It is pooled.
type fetchCall struct {
	c      *conn
	req    wire.FetchRequest
	resp   wire.FetchResponse
	wanted []wanted // one per partition of the request, in its order
	expiry time.Time
	buffer *fetchBuffer // holds the records of resp; nil before reading
	pieces [][]byte

	aborted []wire.AbortedTransaction // of all results
}

// wanted is one partition of a fetch.
type wanted struct {
	topic *topic
	view
	seen  record.Offset // at or below it, the end of what the client may see is no news
	fault error         // why nothing can be read
}

const (
	noSession    = 0
	finalSession = -1 // the epoch that ends a session, or wants none
)

// fetch finds the partitions; the reply waits and reads.
func (b *Broker) fetch(c *conn, req *request) reply {
	call := b.fetchCalls.Get().(*fetchCall)
	call.c = c
	if err := call.req.Decode(req.Header, req.body); err != nil {
		call.release()
		return refuse(err)
	}
	call.expiry = time.Now().Add(time.Duration(call.req.MaxWaitMs) * time.Millisecond)
	unknownSession := call.req.SessionID != noSession && call.req.SessionEpoch != finalSession
	if unknownSession { // there are none: every fetch names all its partitions (F4)
		call.req.Topics, call.req.Partitions = nil, nil
	}
	call.resp.Reset(&call.req)
	if unknownSession {
		call.resp.ErrorCode = kerr.FetchSessionIDNotFound.Code
	}
	call.find()
	return call.wait
}

// find looks the partitions up and checks what can be checked before reading.
func (call *fetchCall) find() {
	call.wanted = call.wanted[:0]
	for i := range call.req.Topics {
		asked := &call.req.Topics[i]
		t, err := call.c.topic(auth.Read, asked.Name, (*topicID)(asked.ID))
		for j := range asked.Partitions {
			w := findWanted(t, err, &asked.Partitions[j])
			w.committed = call.req.IsolationLevel == readCommitted
			call.wanted = append(call.wanted, w)
		}
	}
	clear(call.req.Topics) // they point into the frame
}

func findWanted(t *topic, err error, asked *wire.FetchPartition) wanted {
	w := wanted{topic: t, seen: record.Offset(asked.Offset), fault: err}
	if t == nil {
		return w
	}
	w.fault = errTopicUnknown
	if w.log = t.log(asked.Partition); w.log != nil {
		w.fault = checkEpoch(w.log, asked.CurrentLeaderEpoch)
	}
	return w
}

// wait is the reply. It answers when there are enough bytes, when something is
// wrong with a partition, or when the client's patience ends (F5).
func (call *fetchCall) wait(ctx context.Context) (response, error) {
	for {
		if last := call.answerNow(ctx); last || call.news() {
			if err := call.read(ctx); err != nil {
				return nil, err
			}
			if last || call.enough() {
				return call, nil
			}
			call.dropRecords()
			call.pause(ctx)
		}
		call.await(ctx)
	}
}

// answerNow reports whether waiting is not wanted, or not any more.
func (call *fetchCall) answerNow(ctx context.Context) bool {
	return call.req.MinBytes <= 0 || len(call.wanted) == 0 || !time.Now().Before(call.expiry) || ctx.Err() != nil
}

// news reports whether reading would show something that the client has not seen.
func (call *fetchCall) news() bool {
	for i := range call.wanted {
		if call.wanted[i].news() {
			return true
		}
	}
	return false
}

func (w *wanted) news() bool {
	switch {
	case w.fault != nil, w.end() > w.seen:
		return true
	case w.seen < w.log.StartOffset() || w.seen > w.log.NextOffset():
		return true // out of range
	}
	return w.gone()
}

// gone reports whether the log was deleted or closed. A failed one still serves
// what it has.
func (w *wanted) gone() bool {
	stopped := w.log.Failed()
	return stopped != nil && !errors.Is(stopped, log.ErrFailed)
}

// await waits until a partition has news, or the client's patience ends.
func (call *fetchCall) await(ctx context.Context) {
	waiter := log.NewWaiter()
	watched := 0
	defer func() {
		for _, w := range call.wanted[:watched] {
			w.log.Unwatch(waiter)
		}
	}()
	for ; watched < len(call.wanted); watched++ {
		w := &call.wanted[watched]
		if !w.watch(waiter, w.seen) && (w.news() || w.gone()) {
			return
		}
	}
	timer := time.NewTimer(time.Until(call.expiry))
	defer timer.Stop()
	select {
	case <-waiter.C:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// shortReadPause is how long a fetch with too few bytes lets more arrive before
// it reads again: without it, each small append would have it read everything.
const shortReadPause = 10 * time.Millisecond

func (call *fetchCall) pause(ctx context.Context) {
	sleep(ctx, min(shortReadPause, time.Until(call.expiry)))
}

// read fills in the answer: watermarks for all partitions, and records as far as
// the client's bounds and the memory allow.
func (call *fetchCall) read(ctx context.Context) error {
	c := call.c
	// A different partition comes first each time, so that one with much to read
	// does not starve the others of a client that always asks in the same order.
	first := c.fetches
	c.fetches++
	for least := 0; ; {
		buffer, err := c.b.takeFetchBuffer(ctx, least, max(least, c.fetchClass), call.req.MaxBytes)
		if err != nil {
			return fmt.Errorf("wait for memory for a fetch: %w", err)
		}
		call.buffer, call.aborted = buffer, call.aborted[:0]
		for i := range call.wanted {
			call.readPartition((first + i) % len(call.wanted))
		}
		c.fetchClass = buffer.next()
		if buffer.needed == 0 {
			return nil
		}
		least = classOf(buffer.needed) // even the first batch was larger than the buffer
		call.dropRecords()
	}
}

// readPartition fills in one result.
func (call *fetchCall) readPartition(i int) {
	w, asked, result := &call.wanted[i], &call.req.Partitions[i], &call.resp.Partitions[i]
	*result = wire.FetchResult{
		Partition: asked.Partition, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1,
		DivergingEpoch: -1, DivergingEndOffset: -1, LeaderID: -1, LeaderEpoch: -1,
	}
	if w.fault == nil {
		w.fault = call.readRecords(w, asked, result)
	}
	result.ErrorCode = codeOf(w.fault)
	if errors.Is(w.fault, errFencedEpoch) && call.req.Version >= fetchNamesLeader {
		call.nameLeader(w.log, result)
	}
}

// fetchNamesLeader is the first Fetch version whose client learns the leader from
// the answer itself, without asking for metadata (KIP-951).
const fetchNamesLeader = 16

func (call *fetchCall) nameLeader(l *log.Log, result *wire.FetchResult) {
	node := &call.resp.Leader
	node.ID = call.c.b.cfg.NodeID
	node.Host, node.Port = call.c.advertised()
	result.LeaderID, result.LeaderEpoch = node.ID, l.LeaderEpoch()
}

func (call *fetchCall) readRecords(w *wanted, asked *wire.FetchPartition, result *wire.FetchResult) error {
	w.seen = max(w.seen, w.end()) // before reading: what comes later is news
	diverges, err := w.diverges(asked, result)
	if err != nil {
		return err
	}
	if diverges {
		call.buffer.urgent = true
	} else if result.Records, err = call.buffer.fill(w.view, record.Offset(asked.Offset), int(asked.MaxBytes)); err != nil {
		return err
	}
	count, next := measure(result.Records)
	w.topic.traffic.fetched.add(count, len(result.Records))
	if w.committed && count > 0 {
		if result.Aborted, err = call.abortedIn(w.log, record.Offset(asked.Offset), next); err != nil {
			result.Records = nil
			return err
		}
	}
	result.HighWatermark = int64(w.log.HighWatermark())
	result.LastStableOffset = int64(w.log.LastStableOffset())
	result.LogStartOffset = int64(w.log.StartOffset())
	return nil
}

// diverges tells a reader whose last epoch ends elsewhere here where the logs
// part (KIP-595).
func (w *wanted) diverges(asked *wire.FetchPartition, result *wire.FetchResult) (bool, error) {
	if asked.LastFetchedEpoch < 0 {
		return false, nil
	}
	epoch, end := w.log.OffsetForEpoch(asked.LastFetchedEpoch)
	switch {
	case epoch < 0:
		return false, fmt.Errorf("%w: nothing is known of epoch %d", log.ErrOffsetOutOfRange, asked.LastFetchedEpoch)
	case epoch == asked.LastFetchedEpoch && int64(end) >= asked.Offset:
		return false, nil
	}
	result.DivergingEpoch, result.DivergingEndOffset = epoch, int64(end)
	return true, nil
}

// abortedIn lists the transactions that a read_committed client must leave out
// of the records between two offsets, ascending by first offset (F3).
func (call *fetchCall) abortedIn(l *log.Log, from, to record.Offset) ([]wire.AbortedTransaction, error) {
	found, err := l.Aborted(nil, from, to)
	if err != nil {
		return nil, err
	}
	start := len(call.aborted)
	for _, a := range found {
		call.aborted = append(call.aborted, wire.AbortedTransaction{ProducerID: a.ProducerID, FirstOffset: int64(a.First)})
	}
	return call.aborted[start:], nil
}

// measure tells by the headers of whole batches how many records they hold, and
// the offset behind the last one.
func measure(records []byte) (count int, next record.Offset) {
	for len(records) > 0 {
		h, err := batch.ParseHeader(records)
		if err != nil || h.Size() > len(records) {
			break
		}
		count += int(h.Count)
		next = h.LastOffset() + 1
		records = records[h.Size():]
	}
	return count, next
}

// enough reports whether the answer is worth sending before the client's
// patience ends.
func (call *fetchCall) enough() bool {
	if call.buffer.urgent || call.buffer.full || call.buffer.read >= int(call.req.MinBytes) {
		return true
	}
	for i := range call.wanted {
		if call.wanted[i].fault != nil {
			return true
		}
	}
	return false
}

// Key makes a fetchCall its own response.
func (call *fetchCall) Key() int16 { return fetchKey }

func (call *fetchCall) writeFrame(c *conn, correlationID int32) error {
	call.pieces = call.resp.AppendFrame(call.pieces[:0], correlationID)
	err := c.writeBuffers(call.pieces)
	call.release()
	return err
}

func (call *fetchCall) dropRecords() {
	for i := range call.resp.Partitions {
		call.resp.Partitions[i].Records = nil
	}
	call.c.b.putFetchBuffer(call.buffer)
	call.buffer = nil
}

// release gives the call back, unless it grew beyond what is worth keeping.
func (call *fetchCall) release() {
	b := call.c.b
	if call.buffer != nil {
		call.dropRecords()
	}
	clear(call.wanted)
	clear(call.pieces)
	call.c, call.aborted = nil, call.aborted[:0]
	if len(call.req.Partitions) <= pooledPartitions {
		b.fetchCalls.Put(call)
	}
}
