package topology

// View reads the committed results of a table.
type View[K, R any] struct{ store string }

func newView[K, R any](store string) *View[K, R] { return &View[K, R]{store} }
