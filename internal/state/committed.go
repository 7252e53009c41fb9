package state

import "errors"

// EachCommitted yields every key with its value as of the last commit, in no
// particular order, until yield returns an error. yield must not use the table,
// nor change the value.
func (t *Keyed[K, A]) EachCommitted(yield func(K, A) error) error {
	for id := range uint32(t.rows.n) {
		if r := t.rows.at(id); r.state&exists != 0 {
			if err := yield(t.keys.key(id), r.committed); err != nil {
				return err
			}
		}
	}
	if t.complete {
		return nil
	}
	return t.eachOnDisk(yield)
}

// OpenedBefore is the value as of the last commit of the i-th changed key of the
// open transaction.
func (t *Keyed[K, A]) OpenedBefore(i int) (v A, ok bool) {
	r := t.rows.at(t.open[i].row)
	return r.committed, r.state&exists != 0
}

// EachCommitted yields a key's values as of the last commit, one per slice that has
// one, in the order of time.
func (t *Windows[K, A]) EachCommitted(key K, yield func(s *Slice[K, A], value A)) error {
	var faults []error
	for _, s := range t.slices {
		v, ok, err := s.Committed(key)
		if ok {
			yield(s, v)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
