package state

import (
	"errors"
	"fmt"
)

// Each yields every key with its newest value, in no particular order, until
// yield returns an error. yield must not use the table, nor change the value.
func (t *Keyed[K, A]) Each(yield func(K, A) error) error {
	return t.each(true, &t.cut, yield)
}

// EachCommitted yields every key with its value as of the last commit. Readers
// may call it at once, while nothing changes the table.
func (t *Keyed[K, A]) EachCommitted(yield func(K, A) error) error {
	return t.each(false, new(Cutter), yield)
}

func (t *Keyed[K, A]) each(newest bool, cut *Cutter, yield func(K, A) error) error {
	for id := range uint32(t.rows.n) {
		r := t.rows.at(id)
		v := r.committed
		switch {
		case newest && r.open >= 0:
			v = t.open[r.open].Value
		case r.state&exists == 0:
			continue
		}
		if err := yield(t.keys.key(id, cut), v); err != nil {
			return err
		}
	}
	if t.complete {
		return nil
	}
	return t.eachOnDisk(yield)
}

// eachOnDisk yields the keys that only the disk has.
func (t *Keyed[K, A]) eachOnDisk(yield func(K, A) error) (err error) {
	scanErr := t.spec.Backing.Scan(t.prefix, afterPrefix(t.prefix), func(key, value []byte) bool {
		k, decodeErr := t.spec.Key.Decode(append([]byte(nil), key[len(t.prefix):]...))
		if decodeErr != nil {
			err = t.damaged(decodeErr)
			return false
		}
		if _, here := t.keys.lookup(k); here {
			return true
		}
		v, decodeErr := t.decode(value)
		if decodeErr != nil {
			err = decodeErr
			return false
		}
		err = yield(k, v)
		return err == nil
	})
	return errors.Join(err, scanErr)
}

// afterPrefix is the first key behind all that begin with a slice's prefix; nil,
// the end of the store, for a table that is not a slice.
func afterPrefix(prefix []byte) []byte {
	if len(prefix) == 0 {
		return nil
	}
	return appendStart(nil, decodeStart(prefix)+1)
}

// decode reads a value from bytes that belong to someone else.
func (t *Keyed[K, A]) decode(value []byte) (A, error) {
	v, err := t.spec.Value.Decode(append([]byte(nil), value...))
	if err != nil {
		return v, t.damaged(err)
	}
	return v, nil
}

func (t *Keyed[K, A]) damaged(err error) error {
	return fmt.Errorf("store %q: %w: %w", t.spec.Name, ErrDamaged, err)
}

// Get is the newest value of a key: open, committed or on disk.
func (t *Keyed[K, A]) Get(key K) (v A, ok bool, err error) {
	if id, here := t.keys.lookup(key); here {
		if r := t.rows.at(id); r.open >= 0 {
			return t.open[r.open].Value, true, nil
		}
	}
	return t.Committed(key)
}

// Unchanged is the value of a key that the open transaction has not changed.
func (t *Keyed[K, A]) Unchanged(key K) (v A, ok bool, err error) {
	if id, here := t.keys.lookup(key); here && t.rows.at(id).open >= 0 {
		return v, false, nil
	}
	return t.Committed(key)
}

// Committed is the value of a key as of the last commit. Readers may call it at
// once, while nothing changes the table. A key that is asked for need not exist,
// and does not grow the table.
func (t *Keyed[K, A]) Committed(key K) (v A, ok bool, err error) {
	if id, here := t.keys.lookup(key); here && id < uint32(t.rows.n) {
		r := t.rows.at(id)
		return r.committed, r.state&exists != 0, nil
	}
	if t.complete {
		return v, false, nil
	}
	k, err := t.spec.Key.Append(append([]byte(nil), t.prefix...), key)
	if err != nil {
		return v, false, fmt.Errorf("store %q: encode a key: %w", t.spec.Name, err)
	}
	// A scan of the one key, for Get is for one goroutine only.
	scanErr := t.spec.Backing.Scan(k, append(k[:len(k):len(k)], 0), func(_, value []byte) bool {
		v, err = t.decode(value)
		ok = err == nil
		return false
	})
	return v, ok, errors.Join(err, scanErr)
}
