package log

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"millrace/record"
)

// round is one pass of the sync scheduler. All who wait for it wait on one channel.
type round struct{ done chan struct{} }

func newRound() *round { return &round{done: make(chan struct{})} }

// schedule is what the scheduler knows of one log; guarded by its lock.
type schedule struct {
	queued bool // in syncer.dirty
	urgent bool // somebody waits
	due    time.Time
}

const (
	// manyFiles above which one syncfs always costs less than a sync per file.
	manyFiles = 8

	// A syncfs costs no more than the sync of one file, unless others write to the
	// file system too: one that took longer is not used for fewer files for a while.
	slowWhole   = 10 * time.Millisecond
	wholeAvoids = 100 // rounds

	// A round that took longer makes the next one that of the store's own goroutine.
	slowRound = 10 * time.Millisecond
)

// syncer is the group commit (rule S3): a round takes all logs that somebody
// waits for, syncs their files, moves the high watermarks, and ends. One round at
// a time, on the goroutine of the store or on that of a caller (SyncHere).
// Appends during a round gather for the next one, so rounds grow with the load
// and nobody lingers without need.
type syncer struct {
	store *Store
	kick  chan struct{} // capacity 1
	quit  chan struct{}
	ended chan struct{}

	rounds atomic.Int64 // begun

	mu         sync.Mutex
	gathering  *round
	gather     gathering // of what waits for that round
	running    *round    // in progress; nil between rounds
	dirty      []*Log    // queued; each at most once
	urgent     bool      // some of them
	everything bool      // the next round takes all of dirty
	background int64     // bytes in dirty that nobody waits for yet
	earliest   time.Time
	looks      time.Time // when the scheduler's goroutine looks by itself
	seen       int64     // rounds when it looked last
	quick      bool      // the last round was; see SyncHere

	avoidWhole int // rounds in which few files are synced one by one

	logs  []*Log       // of the round in progress; reused
	taken []syncTarget // the same
}

// syncTarget is what one round does for one log.
type syncTarget struct {
	log      *Log
	extents  []extent
	newNames bool
	end      record.Offset // durable when all is synced
	err      error
}

// extent is a segment and the size that a sync covers.
type extent struct {
	seg *segment
	end int64
}

func newSyncer(s *Store) *syncer {
	return &syncer{
		store: s, kick: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		gathering: newRound(), looks: time.Now().Add(longestLook),
	}
}

// longestLook is how long the scheduler's goroutine rests when nothing happens.
const longestLook = time.Hour

// join puts the log, to which n bytes were written, into a round to come and
// returns the one that gathers now. The appender's write is done, so that round
// or a later one covers it.
func (s *syncer) join(l *Log, n int64, ask syncAsk) *round {
	cfg := l.config.Load()
	after, urgent := l.syncAfter(cfg, ask)
	s.mu.Lock()
	defer s.mu.Unlock()
	sched := &l.scheduled
	due := time.Now().Add(after) // the monotonic clock: wall clocks jump
	if !sched.queued {
		if n == 0 && !urgent {
			return s.nextLocked()
		}
		*sched = schedule{queued: true, due: due}
		s.dirty = append(s.dirty, l)
	}
	sched.urgent = sched.urgent || urgent
	if due.Before(sched.due) {
		sched.due = due
	}
	if urgent {
		s.joinUrgentLocked()
		return s.gathering
	}
	if cfg.durability(s.store.opts.Durability) == Fsync {
		s.background += n
	}
	if s.background >= s.store.opts.BackgroundBytes {
		s.everything = true
		s.wake()
	} else if s.earliest.IsZero() || sched.due.Before(s.earliest) {
		s.earliest = sched.due
		if s.earliest.Before(s.looks) {
			s.wake()
		}
	}
	return s.gathering
}

// joinUrgentLocked takes one more who waits into the round that gathers. While a
// round is in progress its end sees to the next one.
func (s *syncer) joinUrgentLocked() {
	s.urgent = true
	s.gather.waiting++
	if s.running == nil && (s.gather.waiting == 1 || s.gather.complete()) {
		s.wake()
	}
}

// syncAsk is what an append asks of the scheduler.
type syncAsk int

const (
	syncLater     syncAsk = iota // within Options.BackgroundSync
	syncNow                      // at once, where the topic's durability is Fsync
	syncNowAlsoOS                // at once in any case
)

// syncAfter is how long an append may stay unsynced by the topic's durability.
func (l *Log) syncAfter(cfg *Config, ask syncAsk) (after time.Duration, urgent bool) {
	opts := &l.store.opts
	if cfg.durability(opts.Durability) == Fsync {
		return opts.BackgroundSync, ask != syncLater
	}
	after = opts.CheckpointInterval
	if cfg.FlushMs != Unset {
		after = min(after, time.Duration(min(cfg.FlushMs, 1e9))*time.Millisecond)
	}
	l.tail.Lock()
	urgent = l.tail.records >= cfg.FlushMessages || ask == syncNowAlsoOS
	l.tail.Unlock()
	return after, urgent
}

func (s *syncer) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// next is the round that ends next. While one is in progress it is that one: it
// may cover what the caller waits for, and the one that gathers may never be due.
func (s *syncer) next() *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextLocked()
}

func (s *syncer) nextLocked() *round {
	if s.running != nil {
		return s.running
	}
	return s.gathering
}

// all starts a round that syncs every log with unsynced bytes, and returns it.
func (s *syncer) all() *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.everything = true
	s.wake()
	return s.gathering
}

// run is the scheduler's goroutine. It ends after quit, with a last round.
func (s *syncer) run() {
	defer close(s.ended)
	timer := time.NewTimer(longestLook)
	defer timer.Stop()
	for {
		select {
		case <-s.kick:
		case <-timer.C:
		case <-s.quit:
			s.runLast()
			return
		}
		timer.Reset(s.runRound())
	}
}

// runRound does one round if one is due, and says when to look again. While
// rounds come, that is soon: then nobody needs to wake this goroutine for what
// is due in the background.
func (s *syncer) runRound() (wait time.Duration) {
	s.runIfDue()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	wait = longestLook
	if rounds := s.rounds.Load(); rounds != s.seen {
		s.seen, wait = rounds, s.store.opts.BackgroundSync
	}
	if !s.earliest.IsZero() && s.running == nil {
		wait = min(wait, s.earliest.Sub(now))
	}
	if s.urgent && s.gather.held(now) {
		wait = min(wait, s.gather.until.Sub(now))
	}
	s.looks = now.Add(wait)
	return wait
}

// runIfDue does one round on the caller's goroutine, if one is due and none is in
// progress. Whoever ends a round sees to what has gathered meanwhile.
func (s *syncer) runIfDue() (ran bool) {
	began := time.Now()
	ending, logs := s.take(began)
	if ending == nil {
		return false
	}
	s.rounds.Add(1)
	s.sync(logs)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	took := now.Sub(began)
	s.running, s.quick = nil, took < slowRound
	close(ending.done)
	s.gather.roundEnded(now, took)
	if s.urgent || s.everything || !s.earliest.IsZero() && s.earliest.Before(s.looks) {
		s.wake()
	}
	return true
}

// runLast leaves nothing unsynced, behind the round that a caller may be at.
func (s *syncer) runLast() {
	for {
		s.all()
		if s.runIfDue() {
			return
		}
		s.mu.Lock()
		running := s.running
		s.mu.Unlock()
		if running != nil {
			<-running.done
		}
	}
}

// take ends the gathering and picks the logs of the round: those that somebody
// waits for and those that are due. nil when there is nothing to do, or a round is
// in progress.
func (s *syncer) take(now time.Time) (*round, []*Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := !s.earliest.IsZero() && !now.Before(s.earliest)
	if s.running != nil || !due && !s.everything && (!s.urgent || s.gather.held(now)) {
		return nil, nil
	}
	urgent := 0
	for _, l := range s.dirty {
		if l.scheduled.urgent {
			urgent++
		}
	}
	everything := s.everything || urgent > manyFiles // syncfs takes the rest along
	logs, rest := s.logs[:0], s.dirty[:0]
	s.earliest = time.Time{}
	for _, l := range s.dirty {
		sched := &l.scheduled
		if everything || sched.urgent || !now.Before(sched.due) {
			sched.queued = false
			logs = append(logs, l)
			continue
		}
		rest = append(rest, l)
		if s.earliest.IsZero() || sched.due.Before(s.earliest) {
			s.earliest = sched.due
		}
	}
	clear(s.dirty[len(rest):])
	s.logs, s.dirty, s.urgent, s.everything = logs, rest, false, false
	if len(rest) == 0 {
		s.background = 0
	}
	s.running = s.gathering
	s.gathering = newRound()
	s.gather.roundBegins()
	return s.running, logs
}

// sync makes the logs durable up to where they are now.
func (s *syncer) sync(logs []*Log) {
	s.taken = s.taken[:0]
	files := 0
	for _, l := range logs {
		t := l.capture()
		files += len(t.extents)
		if t.newNames {
			files++
		}
		s.taken = append(s.taken, t)
	}
	if s.prefersWhole(files) {
		s.syncWhole()
	} else {
		s.syncEach()
	}
	for i := range s.taken {
		s.taken[i].finish()
	}
	clear(s.taken)
	clear(logs)
}

// prefersWhole chooses between one sync of the file system and one per file.
func (s *syncer) prefersWhole(files int) bool {
	if files > 1 && files <= manyFiles && s.avoidWhole > 0 {
		s.avoidWhole--
		return false
	}
	return files > 1
}

// syncWhole syncs the file system. When that fails, nobody knows for whom.
func (s *syncer) syncWhole() {
	began := time.Now()
	err := s.store.syncAll()
	if time.Since(began) > slowWhole {
		s.avoidWhole = wholeAvoids
	}
	for i := range s.taken {
		s.taken[i].err = err
	}
}

// syncEach syncs file by file, the logs in parallel within Options.SyncParallel.
func (s *syncer) syncEach() {
	if len(s.taken) == 1 {
		s.taken[0].sync()
		return
	}
	slots := make(chan struct{}, s.store.opts.SyncParallel)
	var group sync.WaitGroup
	for i := range s.taken {
		slots <- struct{}{}
		group.Go(func() {
			s.taken[i].sync()
			<-slots
		})
	}
	group.Wait()
}

// capture takes what is unsynced now, with the pins on its files.
func (l *Log) capture() syncTarget {
	l.tail.Lock()
	defer l.tail.Unlock()
	t := syncTarget{log: l, newNames: l.tail.newNames, end: l.NextOffset()}
	for _, seg := range l.tail.unsynced {
		t.extents = append(t.extents, extent{seg, seg.size.Load()})
		seg.unsynced = false
	}
	clear(l.tail.unsynced)
	l.tail.unsynced = l.tail.unsynced[:0]
	l.tail.newNames = false
	l.store.checkpointer.wrote(l.tail.bytes)
	l.tail.bytes, l.tail.records = 0, 0
	return t
}

func (t *syncTarget) sync() {
	for _, e := range t.extents {
		if t.err == nil {
			t.err = t.log.store.timed(e.seg.data.file.SyncData)
		}
	}
	if t.newNames && t.err == nil && !t.log.store.opts.faults.skipDirSync {
		t.err = t.log.syncDir()
	}
}

// syncDir makes the names of segments durable. The directory of a deleted log
// has another name, and nobody needs it.
func (l *Log) syncDir() error {
	l.names.RLock()
	defer l.names.RUnlock()
	if reason := l.ended.Load(); reason != nil && errors.Is(*reason, ErrDeleted) {
		return nil
	}
	return l.store.timed(func() error { return l.store.fsys.SyncDir(l.dir) })
}

// syncAll syncs the file system. A failure is that of every log with unsynced
// bytes: they may look clean now, and no later sync would write them.
func (s *Store) syncAll() error {
	err := s.timed(s.fsys.SyncAll)
	if err == nil {
		return nil
	}
	s.root.failed.Add(1)
	s.noteFailedSync()
	for _, l := range s.allLogs() {
		if l.durable.Load() < l.next.Load() {
			_ = l.fail(err)
		}
	}
	return err
}

// timed runs one sync and measures it.
func (s *Store) timed(sync func() error) error {
	began := time.Now()
	err := sync()
	if err != nil && s.opts.faults.retryFailedSync {
		err = sync()
	}
	s.metrics.observeSync(began)
	return err
}

// finish gives back the pins and publishes the outcome.
func (t *syncTarget) finish() {
	for _, e := range t.extents {
		e.seg.data.release()
	}
	l := t.log
	if t.err != nil {
		l.store.noteFailedSync()
		_ = l.fail(t.err)
		return
	}
	if l.failed.Load() != nil {
		return // after an earlier failure this success proves nothing
	}
	l.tail.Lock()
	for _, e := range t.extents {
		e.seg.show(e.end)
	}
	l.durable.Store(int64(t.end)) // rises: one round at a time
	stableMoved := l.showLocked(t.end)
	l.tail.Unlock()
	l.wakeReaders(stableMoved)
}
