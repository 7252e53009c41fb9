package log

import (
	"fmt"
	"slices"

	"millrace/record"
)

// CreateSpec names a partition to be made.
type CreateSpec struct {
	TP      record.TopicPartition
	TopicID [16]byte
	Config  Config
}

// Create makes partitions. All are durable when it returns nil; on an error none
// of them is there. ErrExists when one is there already.
func (s *Store) Create(specs []CreateSpec) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	if err := s.mayCreate(specs); err != nil {
		return err
	}
	if err := s.forgetFormer(specs); err != nil {
		return s.undo(nil, fmt.Errorf("create partitions: %w", err))
	}
	made := make([]*Log, 0, len(specs))
	for _, spec := range specs {
		l, err := s.make(spec, len(specs) < manyMade)
		if err != nil {
			return s.undo(specs[:len(made)+1], fmt.Errorf("create partition %s: %w", spec.TP, err))
		}
		made = append(made, l)
	}
	if err := s.syncMade(made); err != nil {
		return s.undo(specs, fmt.Errorf("create partitions: %w", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range made {
		s.logs[l.tp] = l
	}
	return nil
}

func (s *Store) mayCreate(specs []CreateSpec) error {
	if s.closing.Load() {
		return ErrClosed
	}
	for _, spec := range specs {
		if err := spec.TP.Topic.Validate(); err != nil {
			return fmt.Errorf("create partition %s: %w", spec.TP, err)
		}
		if spec.TP.Partition < 0 {
			return fmt.Errorf("create partition %s: the partition is negative", spec.TP)
		}
		if _, there := s.Log(spec.TP); there {
			return fmt.Errorf("create partition %s: %w", spec.TP, ErrExists)
		}
	}
	return nil
}

// forgetFormer writes the checkpoints without the deleted partitions whose names
// are used again.
func (s *Store) forgetFormer(specs []CreateSpec) error {
	if !slices.ContainsFunc(specs, func(spec CreateSpec) bool { return s.former[spec.TP] }) {
		return nil
	}
	if err := s.checkpointer.writePoints(map[*Log]record.Offset{}); err != nil {
		return err
	}
	if err := s.advance(nil); err != nil {
		return err
	}
	if err := s.cleaner.forgetFormer(); err != nil {
		return err
	}
	clear(s.former)
	return nil
}

// manyMade partitions from which on one syncfs costs less than syncing them one
// by one: each has a file and a directory.
const manyMade = 4

// make writes the files of an empty partition. Nothing is durable yet but, with
// sync, the topic id.
func (s *Store) make(spec CreateSpec, sync bool) (*Log, error) {
	l := s.newLog(spec.TP, spec.TopicID, spec.Config)
	l.configured.Store(true)
	if err := s.fsys.MkdirAll(l.dir); err != nil {
		return nil, err
	}
	if err := putFile(s.fsys, l.dir+"/"+metadataFile, encodeMetadata(spec.TopicID), sync); err != nil {
		return nil, err
	}
	seg := &segment{store: s, dir: l.dir}
	if err := l.createSegment(seg); err != nil {
		return nil, err
	}
	index := newIndexWriter(seg, l.config.Load().IndexIntervalBytes)
	l.open(&scan{log: l, segments: []*segment{seg}, index: index}, 0)
	return l, nil
}

// syncMade makes new partitions durable: first what is in their directories,
// then the directories' own names.
func (s *Store) syncMade(made []*Log) error {
	if s.opts.faults.skipDirSync {
		return nil
	}
	if len(made) >= manyMade {
		if err := s.syncAll(); err != nil {
			return err
		}
		return s.proveRoot()
	}
	for _, l := range made {
		if err := s.timed(func() error { return s.fsys.SyncDir(l.dir) }); err != nil {
			return err
		}
	}
	return s.syncRoot()
}

// undo removes what a failed Create has made and gives its error. What cannot be
// removed is empty, and goes at the next start.
func (s *Store) undo(specs []CreateSpec, err error) error {
	for _, spec := range specs {
		if removeErr := s.fsys.RemoveAll(spec.TP.String()); removeErr != nil {
			s.opts.Logger.Warn("a partition that could not be created leaves files behind", "partition", spec.TP.String(), "error", removeErr)
		}
	}
	if syncErr := s.syncRoot(); syncErr != nil {
		s.opts.Logger.Warn("partitions that could not be created may be there after a power cut", "error", syncErr)
	}
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
