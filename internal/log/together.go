package log

import "time"

// SyncTogether starts one sync for all that was appended to these logs without
// AppendOptions.Sync. Appends that each ask for a sync may be spread over two
// rounds, because the first one begins while the others are still under way.
func (s *Store) SyncTogether(logs ...*Log) {
	s.syncer.ask(logs, false)
}

// SyncHere is SyncTogether for a caller who waits at once, and who may be held up
// for as long as the disk takes: if no round is in progress, the caller's
// goroutine does it. That spares two hand-overs between goroutines, which cost
// about as much as the sync. Behind a slow round it is SyncTogether.
func (s *Store) SyncHere(logs ...*Log) {
	if s.syncer.ask(logs, true) {
		s.syncer.runIfDue()
	}
}

// ask makes one caller wait for all of these logs. mine says that the caller is
// to do the round, as it would like to.
func (s *syncer) ask(logs []*Log, here bool) (mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := false
	for _, l := range logs {
		if l.scheduled.queued { // else a round in progress covers it, or nothing is unsynced
			l.scheduled.urgent, asked = true, true
		}
	}
	if !asked {
		return false
	}
	s.urgent = true
	s.gather.waiting++
	switch held := s.gather.held(time.Now()); {
	case s.running != nil: // its end sees to the next one
	case here && s.quick && !held:
		return true
	case !held || s.gather.waiting == 1: // the first one has the end of the hold seen to
		s.wake()
	}
	return false
}

// SyncRounds is the number of sync rounds that have begun.
func (s *Store) SyncRounds() int64 { return s.syncer.rounds.Load() }
