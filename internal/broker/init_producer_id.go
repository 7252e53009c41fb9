package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/log"
	"millrace/internal/vfs"
)

// initProducerID gives an idempotent producer its id. Every call costs the same:
// ids are taken from blocks that were made durable before (R22). The epoch is
// always 0: a producer that asks again gets another id, as Kafka does it for
// producers without a transactional id.
func (b *Broker) initProducerID(_ *conn, req *kmsg.InitProducerIDRequest) reply {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	return later(func() response {
		id, err := b.producerIDs.take()
		if resp.ErrorCode = codeOf(err); err == nil {
			resp.ProducerID, resp.ProducerEpoch = id, 0
		} else {
			b.complaints.warn("no producer id can be given", "error", err)
		}
		return resp
	})
}

// producerIDs gives out producer ids, none twice, also across crashes: an id is
// given out only from a block whose end is durable.
type producerIDs struct {
	fsys vfs.FS

	mu struct {
		sync.Mutex
		next, end int64 // ids that may still be given out
	}
}

const (
	producerIDsFile = "producer-ids"

	// producerIDBlock ids cost one sync. Those left over at a stop are not used.
	producerIDBlock = 1000

	// lostBlocks is skipped when the file is damaged and only the logs tell which
	// ids were in use.
	lostBlocks = 1_000_000
)

// producerIDsState says which ids may have been given out: those below Next.
type producerIDsState struct {
	Next int64 `json:"next"`
}

func openProducerIDs(store *log.Store, logger *slog.Logger) (*producerIDs, error) {
	p := &producerIDs{fsys: store.FS()}
	var state producerIDsState
	err := readStateFile(p.fsys, metadataDir, producerIDsFile, &state)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errDamaged):
		highest := highestProducerID(store)
		if errors.Is(err, errDamaged) || highest >= 0 {
			state.Next = highest + 1 + lostBlocks
			logger.Error("the file of producer ids is missing or damaged: ids go on well above those in the logs", "next", state.Next, "error", err)
		}
	case err != nil:
		return nil, fmt.Errorf("open producer ids: %w", err)
	}
	p.mu.next, p.mu.end = state.Next, state.Next
	return p, nil
}

// highestProducerID is the largest id that the logs remember, -1 without one.
func highestProducerID(store *log.Store) int64 {
	highest := int64(-1)
	for _, l := range store.Logs() {
		for _, producer := range l.Producers() {
			highest = max(highest, producer.ID)
		}
	}
	return highest
}

// take gives out one id.
func (p *producerIDs) take() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.next == p.mu.end {
		end := p.mu.end + producerIDBlock
		if err := writeStateFiles(p.fsys, metadataDir, stateFile{producerIDsFile, producerIDsState{Next: end}}); err != nil {
			return -1, fmt.Errorf("reserve producer ids: %w", err)
		}
		p.mu.end = end
	}
	p.mu.next++
	return p.mu.next - 1, nil
}
