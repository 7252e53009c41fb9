package log

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"millrace/record"
)

// RecoveryReport says what Open found.
type RecoveryReport struct {
	Clean      bool // the last stop was clean: nothing had to be scanned
	Partitions []PartitionReport
}

// PartitionReport says what Open found in one partition worth telling.
type PartitionReport struct {
	TP            record.TopicPartition
	CutBytes      int64 // of a torn tail, which was never acknowledged
	ScannedBytes  int64 // above the recovery point
	CorruptRanges []CorruptRange
	Err           error // the partition could not be opened; it refuses everything
}

// CorruptRange is a range of offsets, To excluded, that cannot be read.
type CorruptRange struct {
	From, To record.Offset
	Reason   string
}

// metadataFile holds the topic's id, as in Kafka, and a checksum in a third
// line, which Kafka does not read.
const metadataFile = "partition.metadata"

func encodeMetadata(id [16]byte) []byte {
	text := fmt.Sprintf("version: 0\ntopic_id: %s\n", base64.RawURLEncoding.EncodeToString(id[:]))
	return fmt.Appendf(nil, "%scrc32c: %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func decodeMetadata(b []byte) (id [16]byte, err error) {
	text, sum, sealed := strings.Cut(string(b), "crc32c: ")
	if sealed {
		want, err := strconv.ParseUint(strings.TrimSpace(sum), 16, 32)
		if err != nil || uint32(want) != crc32.Checksum([]byte(text), castagnoli) {
			return id, errors.New("wrong checksum")
		}
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 2 || lines[0] != "version: 0" {
		return id, errors.New("it does not start with version 0")
	}
	text, ok := strings.CutPrefix(lines[1], "topic_id: ")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil || len(raw) != len(id) {
		return id, errors.New("it holds no topic id")
	}
	return [16]byte(raw), nil
}

// parseDirName is the partition that a directory name stands for.
func parseDirName(name string) (tp record.TopicPartition, ok bool) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 {
		return tp, false
	}
	partition, err := strconv.ParseUint(name[at+1:], 10, 31)
	tp = record.TopicPartition{Topic: record.Topic(name[:at]), Partition: record.Partition(partition)}
	return tp, err == nil && tp.Topic.Validate() == nil && tp.String() == name
}

// opening is what Open knows of all partitions when it opens one.
type opening struct {
	clean  bool
	again  bool    // a sync failed in the last run
	points offsets // recovery points; nil when their checkpoint is damaged
	starts offsets

	compacted offsets
}

// dirFiles is what the directory of a partition holds.
type dirFiles struct {
	segments  []*segment      // ascending
	snapshots []record.Offset // ascending
	orphans   []record.Offset // indexes of aborted transactions whose segment is not there
	bytes     int64           // of all segments
	named     bool            // there is a partition.metadata with bytes in it
}

func (s *Store) newLog(tp record.TopicPartition, id [16]byte, c Config) *Log {
	l := &Log{store: s, tp: tp, topicID: id, dir: tp.String()}
	c = c.orDefault()
	l.config.Store(&c)
	l.epochs.Store(firstEpoch())
	l.view.Store(&view{})
	return l
}

// openLog opens one partition. nil without an error means that the directory was
// half made and is gone now. An error of the disk gives a failed log.
func (s *Store) openLog(tp record.TopicPartition, o opening) (*Log, PartitionReport) {
	report := PartitionReport{TP: tp}
	l := s.newLog(tp, [16]byte{}, Config{})
	if s.opts.ConfigOf != nil {
		l.SetConfig(s.opts.ConfigOf(tp))
	}
	l.view.Store(&view{start: o.starts[tp]}) // kept, with the recovery point, if it cannot be opened
	l.checkpointed.Store(int64(o.points[tp]))
	l.compacted.to.Store(int64(o.compacted[tp]))
	found, err := l.list()
	if err == nil && found.halfMade(o.starts[tp]) {
		if err = s.fsys.RemoveAll(l.dir); err == nil {
			return nil, report
		}
	}
	if err == nil && !found.named {
		s.opts.Logger.Error("topic id is missing: the file is empty or not there", "partition", tp.String(), "file", l.dir+"/"+metadataFile)
	}
	if err == nil {
		err = l.recover(found, o, &report)
	}
	if err != nil {
		report.Err = l.fail(err)
	}
	if report.CutBytes > 0 {
		s.opts.Logger.Warn("a torn tail was cut off: these bytes were never acknowledged as durable",
			"partition", tp.String(), "bytes", report.CutBytes, "next_offset", int64(l.NextOffset()))
	}
	return l, report
}

// halfMade says that Create was cut off: there is nothing to lose.
func (d dirFiles) halfMade(start record.Offset) bool {
	empty := len(d.segments) == 0 || len(d.segments) == 1 && d.segments[0].base == 0
	return !d.named && empty && d.bytes == 0 && start == 0
}

// list reads the directory, and the topic's id. Leftovers of replaceFile go.
func (l *Log) list() (found dirFiles, err error) {
	names, err := l.store.fsys.List(l.dir)
	if err == nil {
		names, err = l.finishSwaps(names)
	}
	if err != nil {
		return found, err
	}
	for _, name := range names { // sorted, and the digits are padded: ascending
		if base, ok := parseFileName(name, dataFile); ok {
			seg, err := l.listSegment(base)
			if err != nil {
				return found, err
			}
			found.segments = append(found.segments, seg)
			found.bytes += seg.size.Load()
		} else if base, ok := parseFileName(name, txnFile); ok {
			found.markAborted(base)
		} else if off, ok := parseFileName(name, snapshotFile); ok {
			found.snapshots = append(found.snapshots, off)
		} else if strings.HasSuffix(name, tempSuffix) {
			if err := l.store.fsys.Remove(l.dir + "/" + name); err != nil {
				return found, err
			}
		} else if name == metadataFile {
			if found.named, err = l.readMetadata(); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

// markAborted notes the index of aborted transactions of the segment with that
// base, which is listed before it.
func (d *dirFiles) markAborted(base record.Offset) {
	if n := len(d.segments); n > 0 && d.segments[n-1].base == base {
		d.segments[n-1].txnsFound = true
	} else {
		d.orphans = append(d.orphans, base)
	}
}

// removeOrphans removes indexes of aborted transactions without a segment: a later
// segment with that base must not inherit them.
func (s *scan) removeOrphans(bases []record.Offset) error {
	for _, base := range bases {
		s.touched = true
		if err := s.log.store.fsys.Remove(s.log.dir + "/" + fileName(base, txnFile)); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) listSegment(base record.Offset) (*segment, error) {
	seg := &segment{store: l.store, dir: l.dir, base: base}
	info, err := l.store.fsys.Stat(seg.path(dataFile))
	if err != nil {
		return nil, err
	}
	seg.size.Store(info.Size())
	return seg, nil
}

// readMetadata reads the topic's id. A file of zeros counts as none: the machine
// stopped before its bytes were synced. A damaged one is reported; the records
// are worth more than the id, which the broker knows too.
func (l *Log) readMetadata() (named bool, err error) {
	path := l.dir + "/" + metadataFile
	b, err := l.store.fsys.ReadFile(path)
	if err != nil || len(bytes.TrimRight(b, "\x00")) == 0 {
		return false, err
	}
	if l.topicID, err = decodeMetadata(b); err != nil {
		l.store.opts.Logger.Error("topic id is unreadable", "partition", l.tp.String(), "error", &fileError{path, err})
	}
	return true, nil
}

// recover brings the log into a state in which it can be served.
func (l *Log) recover(found dirFiles, o opening, report *PartitionReport) error {
	start, point := o.starts[l.tp], o.points[l.tp]
	if o.again {
		if err := copyUnsynced(l.store.fsys, found.segments, point); err != nil {
			return err
		}
	}
	if err := l.loadEpochs(found); err != nil {
		return err
	}
	if l.store.opts.faults.emptyRestartsAtZero && found.bytes == 0 {
		start, point, found.segments = 0, 0, nil
	}
	if o.points == nil && len(found.segments) > 0 {
		// Unknown. Call no damage torn but in the last segment: the others were
		// synced, most likely, and a wrong cut is worse than a wrong alarm.
		point = found.segments[len(found.segments)-1].base
	}
	s := &scan{log: l, report: report, clean: o.clean, point: point, segments: found.segments}
	if err := s.removeOrphans(found.orphans); err != nil {
		return err
	}
	deleted := s.setAside(start)
	if len(s.segments) > 0 {
		if err := s.run(); err != nil {
			return err
		}
	}
	floor := max(start, point)
	if err := s.finish(floor); err != nil {
		return err
	}
	if err := l.bumpEpoch(s, o); err != nil {
		return err
	}
	l.open(s, start)
	known := o.points[l.tp] // 0 when unknown
	if err := l.restoreProducers(found.snapshots, known, deleted); err != nil {
		return err
	}
	for _, seg := range deleted {
		seg.retire()
		if err := seg.removeFiles(); err != nil {
			return err
		}
	}
	return nil
}

// setAside takes out the segments that lie wholly below the log start: a crash
// came before their removal, and some between them may be gone.
func (s *scan) setAside(start record.Offset) (deleted []*segment) {
	n := 0
	for n+1 < len(s.segments) && s.segments[n+1].base <= start {
		n++
	}
	deleted, s.segments = s.segments[:n:n], s.segments[n:]
	return deleted
}

// finish makes sure that there is a segment to append to, and that the next
// offset is not below floor: the log start and what is known to have been synced.
func (s *scan) finish(floor record.Offset) error {
	if len(s.segments) > 0 && s.next >= floor && !s.sealEnd {
		return nil
	}
	if len(s.segments) > 0 {
		last := s.segments[len(s.segments)-1]
		if s.next < floor && last.size.Load() > 0 {
			s.missing(last, floor)
		}
		s.index.complete(s.log)
	}
	s.next = max(s.next, floor)
	seg := &segment{store: s.log.store, dir: s.log.dir, base: s.next}
	if err := s.log.createSegment(seg); err != nil {
		return err
	}
	s.segments = append(s.segments, seg)
	s.index = newIndexWriter(seg, s.log.config.Load().IndexIntervalBytes)
	s.touched = true
	return nil
}

// open publishes what was recovered. All of it is readable: Store.Open syncs
// what may be unsynced before it returns.
func (l *Log) open(s *scan, start record.Offset) {
	start = max(start, s.segments[0].base)
	for _, seg := range s.segments {
		seg.visible.Store(seg.size.Load())
	}
	l.view.Store(&view{start: start, segments: s.segments})
	l.next.Store(int64(s.next))
	l.durable.Store(int64(s.next))
	l.highWatermark.Store(int64(s.next))
	l.checkpointed.Store(int64(s.point))
	l.appender.index = s.index
	l.appender.aborted = abortedWriter{seg: s.segments[len(s.segments)-1]}
	l.appender.rollFrom = unknownAge
	l.recovered = recovered{touched: s.touched, cut: s.cut}
}

// recovered is what Store.Open has to know about a log that it opened.
type recovered struct{ touched, cut bool }

// bumpEpoch starts a new leader epoch when records that somebody may have read
// are gone: then clients notice it instead of reading other records under their
// old offsets (rule F6). Under OS that cannot be told from the files.
func (l *Log) bumpEpoch(s *scan, o opening) error {
	if !s.cut && (o.clean || l.durability() == Fsync) {
		return nil
	}
	epochs := l.epochs.Load().next(s.next)
	if err := writeEpochs(l.store.fsys, l.dir, epochs); err != nil {
		return err
	}
	l.epochs.Store(epochs)
	return nil
}
