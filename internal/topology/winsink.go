package topology

// WindowsTo writes a windowed table to a topic.
func WindowsTo[K comparable, R any](t WindowTable[K, R], at At, p Policy, to Topic[Win[K], R]) {
	n := t.g.add("To", At{at.Where, string(to.Name)}, t.hub.node)
	n.setPolicy(p)
	n.usesKey = true
	n.writes = append(n.writes, Sink{Topic: to.Name, Kind: SinkTable, Window: t.hub.node.store.Window})
	t.hub.reads(func(w *wiring) port[K, Update[R]] {
		return &winKeyNode[K, R]{next: &sinkNode[Win[K], R]{stage: w.stage(n), key: to.Key, value: to.Value, sink: w.sink(to.Name)}}
	})
}

// winKeyNode makes the window a part of the key.
type winKeyNode[K comparable, R any] struct {
	next *sinkNode[Win[K], R]
	out  vec[Win[K], R]
}

func (n *winKeyNode[K, R]) take(v *vec[K, Update[R]]) error {
	n.out.rows = v.rows
	n.out.keys, n.out.values = n.out.keys[:0], n.out.values[:0]
	for i, u := range v.values {
		n.out.keys = append(n.out.keys, Win[K]{v.keys[i], u.Window})
		n.out.values = append(n.out.values, u.Result)
	}
	return n.next.take(&n.out)
}

// WindowChanges is the stream of a windowed table's results, as f tells them.
func WindowChanges[K comparable, R, W any](t WindowTable[K, R], at At, p Policy, f func(K, Update[R]) W) Stream[K, W] {
	s := Stream[K, Update[R]]{g: t.g, hub: t.hub, home: true}
	told := Map(s, at, p, func(k K, u Update[R]) (K, W) { return k, f(k, u) })
	told.home = true
	return told
}
