package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"millrace/internal/vfs"
	"millrace/record"
)

// epochFile has Kafka's name and format: version 0, a count, and a line "epoch
// start" per entry. Each line stands there twice, which Kafka's reader permits:
// the format has no checksum, and a damaged file must not pass for a true one.
const epochFile = "leader-epoch-checkpoint"

// epochEntry says from which offset on records carry the epoch.
type epochEntry struct {
	epoch int32
	start record.Offset
}

// epochHistory is ascending in both columns and never empty. It is immutable.
type epochHistory []epochEntry

// at is the epoch of the record at off.
func (h *epochHistory) at(off record.Offset) int32 {
	entries := *h
	for i := len(entries) - 1; i > 0; i-- {
		if entries[i].start <= off {
			return entries[i].epoch
		}
	}
	return entries[0].epoch
}

func (h *epochHistory) latest() int32 { return (*h)[len(*h)-1].epoch }

// endOf is Kafka's answer to OffsetForLeaderEpoch: the largest epoch that is not
// above the asked one, and the offset at which it ended. logEnd ends the latest.
// An epoch above the latest is unknown: -1, -1.
func (h *epochHistory) endOf(epoch int32, logEnd record.Offset) (int32, record.Offset) {
	entries := *h
	switch {
	case epoch > h.latest() || epoch < 0:
		return -1, -1
	case epoch == h.latest():
		return epoch, logEnd
	case epoch < entries[0].epoch:
		return epoch, entries[0].start
	}
	for i := len(entries) - 2; ; i-- {
		if entries[i].epoch <= epoch {
			return entries[i].epoch, entries[i+1].start
		}
	}
}

// next is the history with one more epoch, which starts at the given offset.
// Epochs that never had a record are dropped, as in Kafka.
func (h *epochHistory) next(start record.Offset) *epochHistory {
	kept := slices.Clone(*h)
	for len(kept) > 1 && kept[len(kept)-1].start >= start {
		kept = kept[:len(kept)-1]
	}
	grown := append(kept, epochEntry{epoch: h.latest() + 1, start: start})
	return &grown
}

func firstEpoch() *epochHistory { return &epochHistory{{epoch: 0, start: 0}} }

func (h *epochHistory) encode() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "0\n%d\n", 2*len(*h))
	for _, e := range *h {
		for range 2 {
			fmt.Fprintf(&b, "%d %d\n", e.epoch, e.start)
		}
	}
	return []byte(b.String())
}

// decodeEpochs reads our files and Kafka's, which have each line once.
func decodeEpochs(b []byte) (*epochHistory, error) {
	lines, err := checkpointLines(b)
	if err != nil {
		return nil, err
	}
	var all epochHistory
	for _, line := range lines {
		e, err := decodeEpochEntry(line)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	once := slices.Compact(slices.Clone(all))
	if paired := 2*len(once) == len(all); !paired && len(once) != len(all) {
		return nil, errors.New("the two copies of an entry differ")
	}
	rising := func(a, b epochEntry) bool { return a.epoch < b.epoch && a.start < b.start }
	for i := 1; i < len(once); i++ {
		if !rising(once[i-1], once[i]) {
			return nil, errors.New("epochs do not rise")
		}
	}
	if len(once) == 0 || once[0].epoch < 0 || once[0].start < 0 {
		return nil, errors.New("no entry, or a negative one")
	}
	return &once, nil
}

func decodeEpochEntry(line string) (e epochEntry, err error) {
	first, second, ok := strings.Cut(line, " ")
	if !ok {
		return e, fmt.Errorf("line %q is not an epoch and an offset", line)
	}
	epoch, err := strconv.ParseInt(first, 10, 32)
	if err != nil {
		return e, err
	}
	start, err := strconv.ParseInt(second, 10, 64)
	return epochEntry{epoch: int32(epoch), start: record.Offset(start)}, err
}

// loadEpochs reads the history. A log that never lost anything has no file. When
// the file is damaged, or missing although the batches tell of more than the
// first epoch, the batches are asked.
func (l *Log) loadEpochs(found dirFiles) error {
	path := l.dir + "/" + epochFile
	b, err := l.store.fsys.ReadFile(path)
	switch {
	case err == nil:
		history, damaged := decodeEpochs(b)
		if damaged == nil {
			l.epochs.Store(history)
			return nil
		}
		l.store.opts.Logger.Error("leader epochs are unreadable: they are taken from the batches", "partition", l.tp.String(), "error", &fileError{path, damaged})
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case found.bytes == 0:
		return nil
	default:
		if first, err := onlyFirstEpoch(found.segments); first || err != nil {
			return err
		}
	}
	history, err := epochsOf(found.segments)
	if err != nil {
		return err
	}
	l.epochs.Store(history)
	return writeEpochs(l.store.fsys, l.dir, history)
}

// onlyFirstEpoch looks at the newest batches: epochs never fall.
func onlyFirstEpoch(segments []*segment) (bool, error) {
	for _, seg := range slices.Backward(segments) {
		if seg.size.Load() > 0 {
			latest := int32(0)
			err := seg.epochs(maxOffset, func(epoch int32, _ record.Offset) { latest = epoch })
			return latest == 0, err
		}
	}
	return true, nil
}

// epochsOf collects the epochs that the batches carry.
func epochsOf(segments []*segment) (*epochHistory, error) {
	var found epochCollector
	for _, seg := range segments {
		if err := seg.epochs(seg.base, found.add); err != nil {
			return nil, err
		}
	}
	if len(found.history) == 0 {
		return firstEpoch(), nil
	}
	return &found.history, nil
}

// epochCollector makes a history from the epochs of batches, which no checksum
// covers: one that a single batch has, or that is followed by a lower one, is damage.
type epochCollector struct {
	history epochHistory
	latest  epochEntry // not in the history until a second batch has it
}

func (c *epochCollector) add(epoch int32, base record.Offset) {
	first := len(c.history) == 0
	if !first && epoch == c.latest.epoch && epoch > c.history.latest() {
		c.history = append(c.history, c.latest)
	}
	if first || epoch != c.latest.epoch {
		c.latest = epochEntry{epoch, base}
	}
	if first {
		c.history = epochHistory{c.latest}
	}
	for len(c.history) > 1 && c.history.latest() > epoch {
		c.history = c.history[:len(c.history)-1]
	}
}

// epochs gives the epoch and base offset of each batch, from the one that the
// index names before off, until something is found that is no batch.
func (s *segment) epochs(off record.Offset, visit func(epoch int32, base record.Offset)) error {
	f, err := s.openData()
	if err != nil {
		return err
	}
	defer s.data.release()
	c := newCursor(f, nil, 0, s.base, s.size.Load())
	defer c.close()
	if err := c.lookup(s, off, true); err != nil {
		return err
	}
	for {
		h, err := c.proven()
		if err == errEnd || isBad(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.LeaderEpoch >= 0 {
			visit(h.LeaderEpoch, h.BaseOffset)
		}
		c.pass(h)
	}
}

func writeEpochs(fsys vfs.FS, dir string, h *epochHistory) error {
	return replaceFile(fsys, dir+"/"+epochFile, h.encode())
}
