package state

import "errors"

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
