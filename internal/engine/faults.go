package engine

// faults are planted bugs and a hook for the crash tests. All are off outside
// of tests.
type faults struct {
	// at is called at each step of the protocol, see the points below.
	at func(point)
	// smallBatches makes a restore write each batch of the changelog at once, so
	// that a short changelog has points between two batches.
	smallBatches bool

	applyEarly      bool // tables and disk move before the commit is known
	guessAborted    bool // an unknown outcome is taken for an abort
	guessCommitted  bool // an unknown outcome is taken for a commit
	flushOpen       bool // open values reach the disk (KAFKA-20685)
	restoreOneShort bool // a restore stops one record early
	noFence         bool // those that are gone from the group are not fenced
	noTurns         bool // a start does not wait until an earlier one of its unit has let go
	readEndFirst    bool // the end of the changelog is asked for before the offsets, whatever is open there
}

func (f *faults) reach(p point) {
	if f.at != nil {
		f.at(p)
	}
}

// leak is the bug flushOpen.
func (in *instance) leak(tasks []*task) {
	for _, t := range tasks {
		f := in.db.NewFlush()
		for _, s := range t.stores {
			_ = s.table.Changes(f.To(s.part).Put)
		}
		_ = f.Apply()
	}
}

// point is a step of the protocol at which a crash test may strike.
type point string

const (
	beforeProduce  point = "before the first record is sent"
	afterPrepare   point = "after changelog and outputs are sent"
	afterSent      point = "after all records are acknowledged"
	afterEnd       point = "after the commit is answered"
	afterApply     point = "after the tables have moved"
	beforeFlush    point = "before a flush"
	afterFlush     point = "after a flush"
	beforeRestore  point = "before a restore"
	duringRestore  point = "between two batches of a restore"
	afterRestore   point = "after a restore"
	beforeSettle   point = "before an unknown outcome is settled"
	afterSettle    point = "after an unknown outcome is settled"
	beforeGiveAway point = "before a task is given away"
)
