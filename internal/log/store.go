package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"millrace/internal/vfs"
	"millrace/record"
)

const (
	lockFile = ".lock" // Kafka's name

	// failedSyncFile is left behind by a failed sync, for the next start. It need
	// not survive a power cut: neither does the page cache that it warns of.
	failedSyncFile = ".sync-failed"
)

// Store is all partitions of one data directory.
type Store struct {
	fsys    vfs.FS
	opts    Options
	lock    io.Closer
	meta    meta
	report  RecoveryReport
	metrics *metrics
	handles *handleCache
	space   space

	syncer       *syncer
	checkpointer *checkpointer
	retention    *retention
	cleaner      *cleaner
	keyReaders   sync.Pool      // of *batch.Iterator, with what they need to decompress
	removals     sync.WaitGroup // deleted partitions whose files are going
	quit         chan struct{}

	changes sync.Mutex // one Create or Delete at a time

	// former are deleted partitions that the checkpoints may still name. A new one
	// of the same name must not inherit their offsets. Guarded by changes.
	former map[record.TopicPartition]bool

	mu   sync.RWMutex // held for map operations only
	logs map[record.TopicPartition]*Log

	root   rootNames
	doomed []string // deleted, but maybe not for good: their files stay. Guarded by changes.

	startsMu sync.Mutex // one writer of the log-start checkpoint at a time

	closing  atomic.Bool
	closed   sync.Once
	closeErr error
}

// Open takes the data directory, recovers every partition and starts the
// background work. Errors: ErrLocked when another process has the directory,
// ErrCopied when it is a copy of another one. A partition that the disk does not
// give back is opened as failed, and the report says so.
func Open(fsys vfs.FS, o Options) (*Store, error) {
	lock, err := fsys.Lock(lockFile)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	s := newStore(fsys, o.withDefaults(), lock)
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), s.release())
	}
	s.start()
	return s, nil
}

func newStore(fsys vfs.FS, o Options, lock io.Closer) *Store {
	s := &Store{fsys: fsys, opts: o, lock: lock, quit: make(chan struct{}), logs: map[record.TopicPartition]*Log{}, former: map[record.TopicPartition]bool{}}
	s.space = space{fsys: fsys, reserve: o.ReserveBytes, logger: o.Logger}
	s.syncer = newSyncer(s)
	s.handles = &handleCache{max: o.MaxOpenFiles, pressed: func() { s.syncer.all() }}
	s.checkpointer = newCheckpointer(s)
	s.retention = newRetention(s)
	s.cleaner = newCleaner(s)
	return s
}

func (s *Store) open() (err error) {
	if s.metrics, err = newMetrics(s, s.opts.Registerer); err != nil {
		return err
	}
	if s.meta, err = openMeta(s.fsys, s.opts.NodeID); err != nil {
		return err
	}
	o, err := s.readState()
	if err != nil {
		return err
	}
	if err := s.markRunning(); err != nil {
		return err
	}
	names, err := s.fsys.List(".")
	if err != nil {
		return err
	}
	if err := s.removeTemporary(names); err != nil {
		return err
	}
	s.openLogs(names, o)
	for _, checkpoint := range []offsets{o.points, o.starts, o.compacted} {
		for tp := range checkpoint {
			s.former[tp] = s.logs[tp] == nil
		}
	}
	if err := s.settle(o); err != nil {
		return err
	}
	s.removeCondemned(names)
	return nil
}

// readState reads how the last run ended.
func (s *Store) readState() (o opening, err error) {
	if o.clean, err = s.exists(cleanFile); err != nil {
		return o, err
	}
	if o.again, err = s.exists(failedSyncFile); err != nil {
		return o, err
	}
	if o.points, err = readOffsets(s.fsys, recoveryPointFile); err != nil {
		if err = s.damaged(err, "every partition's last segment is checked from its start"); err != nil {
			return o, err
		}
	}
	if o.starts, err = readOffsets(s.fsys, logStartFile); err != nil {
		err = s.damaged(err, "deleted records that are still on disk are served again")
	}
	s.report.Clean = o.clean
	if err != nil {
		return o, err
	}
	if o.compacted, err = readOffsets(s.fsys, cleanerFile); err != nil {
		err = s.damaged(err, "compacted partitions are compacted from their start")
	}
	s.cleaner.listed.Store(len(o.compacted) > 0)
	return o, err
}

// damaged reports a damaged checkpoint; an error of the disk is passed on.
func (s *Store) damaged(err error, consequence string) error {
	if damaged := (*fileError)(nil); !errors.As(err, &damaged) {
		return err
	}
	s.opts.Logger.Error("checkpoint is unreadable: "+consequence, "error", err)
	return nil
}

func (s *Store) exists(name string) (bool, error) {
	_, err := s.fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// markRunning takes the clean marker away, before anything is changed.
func (s *Store) markRunning() error {
	if !s.report.Clean {
		return nil
	}
	if err := s.fsys.Remove(cleanFile); err != nil {
		return err
	}
	return s.fsys.SyncDir(".")
}

// openLogs opens the partitions, several at a time.
func (s *Store) openLogs(names []string, o opening) {
	work := make(chan record.TopicPartition)
	var group sync.WaitGroup
	var mu sync.Mutex
	for range s.opts.OpenParallel {
		group.Go(func() {
			for tp := range work {
				l, report := s.openLog(tp, o)
				mu.Lock()
				if l != nil {
					s.logs[tp] = l
				}
				s.report.add(report)
				mu.Unlock()
			}
		})
	}
	for _, name := range names {
		if tp, ok := parseDirName(name); ok {
			work <- tp
		}
	}
	close(work)
	group.Wait()
	slices.SortFunc(s.report.Partitions, func(a, b PartitionReport) int { return compareTP(a.TP, b.TP) })
}

// add keeps what is worth telling.
func (r *RecoveryReport) add(p PartitionReport) {
	if p.CutBytes > 0 || p.ScannedBytes > 0 || len(p.CorruptRanges) > 0 || p.Err != nil {
		r.Partitions = append(r.Partitions, p)
	}
}

// settle makes durable what the open partitions show to readers, and writes the
// checkpoints that spare the next start the same work.
func (s *Store) settle(o opening) error {
	touched := o.points == nil
	for _, l := range s.logs {
		touched = touched || l.recovered.touched || l.recovered.cut
	}
	for _, p := range s.report.Partitions {
		s.metrics.cutBytes.Add(float64(p.CutBytes))
	}
	if !touched && !o.again {
		return nil
	}
	targets := s.checkpointer.targets() // writes index entries: the sync covers them
	if err := s.syncAll(); err != nil {
		return err
	}
	for _, t := range targets { // the next start reads no producers below its recovery point
		if err := t.saveProducers(); err != nil {
			return err
		}
	}
	if err := s.checkpointer.writePoints(nil); err != nil {
		return err
	}
	if !o.again {
		return nil
	}
	return s.fsys.Remove(failedSyncFile)
}

func (s *Store) start() {
	go s.syncer.run()
	go s.checkpointer.run()
	go s.retention.run()
	go s.cleaner.run()
}

// noteFailedSync warns the next start. When this fails too there is no more to do.
func (s *Store) noteFailedSync() {
	f, err := s.fsys.Create(failedSyncFile)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		s.opts.Logger.Error("could not leave a mark of the failed sync: restart the machine, not only the broker", "error", err)
	}
}

// ClusterID is Kafka's id of the cluster, which the directory keeps for ever.
func (s *Store) ClusterID() string { return s.meta.clusterID }

// Report says what Open found.
func (s *Store) Report() RecoveryReport { return s.report }

// FS is the data directory, for the broker's own small files.
func (s *Store) FS() vfs.FS { return s.fsys }

// Log is one partition.
func (s *Store) Log(tp record.TopicPartition) (*Log, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l, ok := s.logs[tp]
	return l, ok
}

// Logs are all partitions, in the order of topic and partition.
func (s *Store) Logs() []*Log {
	all := s.allLogs()
	slices.SortFunc(all, func(a, b *Log) int { return compareTP(a.tp, b.tp) })
	return all
}

func (s *Store) allLogs() []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.logs))
}
