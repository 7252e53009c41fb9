package log

// SyncTogether starts one sync for all that was appended to these logs without
// AppendOptions.Sync. Appends that each ask for a sync may be spread over two
// rounds, because the first one begins while the others are still under way.
func (s *Store) SyncTogether(logs ...*Log) {
	y := s.syncer
	y.mu.Lock()
	defer y.mu.Unlock()
	asked := false
	for _, l := range logs {
		if l.scheduled.queued { // else a round in progress covers it, or nothing is unsynced
			l.scheduled.urgent, asked = true, true
		}
	}
	if asked {
		y.urgent = true
		y.gather.waiting++ // one caller waits for all of them
		y.wake()
	}
}

// SyncRounds is the number of sync rounds that have begun.
func (s *Store) SyncRounds() int64 { return s.syncer.rounds.Load() }
