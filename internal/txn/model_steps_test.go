package txn

import (
	"fmt"
	"strings"
)

// explorer visits every world that can be reached.
type explorer struct {
	owner   owner
	bounds  bounds
	seen    seenSet
	path    []string
	fault   string // the first violation, with the way to it
	edges   int
	longest int
}

func explore(o owner, b bounds) *explorer {
	x := &explorer{owner: o, bounds: b, seen: newSeenSet()}
	x.visit(newWorld())
	return x
}

func (x *explorer) visit(w world) {
	if x.fault != "" || !x.seen.add(&w) {
		return
	}
	x.longest = max(x.longest, len(x.path))
	if fault := x.violation(&w); fault != "" {
		x.fault = fmt.Sprintf("%s\n\t%s\n%+v", fault, strings.Join(x.path, "\n\t"), w)
		return
	}
	x.disk(w)
	x.timeout(w)
	for c := range w.clients {
		x.client(w, c)
	}
	x.network(w)
}

// try goes one step on.
func (x *explorer) try(what string, w world) {
	x.edges++
	x.finish(&w)
	for p := range w.logs {
		w.logs[p].fold()
	}
	x.path = append(x.path, what)
	x.visit(w)
	x.path = x.path[:len(x.path)-1]
}

// disk syncs, or crashes. A round that covers only some logs needs no step of its
// own: a crash picks how much of each is left.
func (x *explorer) disk(w world) {
	unsynced := !w.durable()
	for p := range w.logs {
		unsynced = unsynced || w.logs[p].durable < w.logs[p].n
	}
	if unsynced {
		next := w
		next.records = [len(w.records)]stored{w.last()}
		next.n = 1
		for p := range next.logs {
			next.logs[p].durable = next.logs[p].n
		}
		x.try("sync", next)
	}
	if w.crashes < x.bounds.crashes {
		x.crash(w)
	}
}

// crash loses any unsynced tail of each log, and starts again.
func (x *explorer) crash(w world) {
	w.crashes++
	for records := uint8(1); records <= w.n; records++ {
		for p0 := w.logs[0].durable; p0 <= w.logs[0].n; p0++ {
			for p1 := w.logs[1].durable; p1 <= w.logs[1].n; p1++ {
				next := w
				next.records = [len(w.records)]stored{w.records[records-1]}
				next.n = 1
				next.logs[0].cut(p0)
				next.logs[1].cut(p1)
				next.marked = 0
				for c := range next.clients {
					if next.clients[c].phase == asking {
						next.clients[c].phase = idle // its connection is gone
					}
				}
				x.recover(&next)
				if quiet := next; true {
					quiet.crashes--
					if quiet == w {
						continue // it was as if nothing had happened
					}
				}
				x.try("crash", next)
			}
		}
	}
}

func (l *partitionLog) cut(n uint8) {
	defer l.fold()
	for i := n; i < l.n; i++ {
		l.events[i] = event{}
	}
	l.n, l.durable = n, n
}

// recover is what a start does before it serves.
func (x *explorer) recover(w *world) {
	t := w.state()
	if t.State.Prepared() {
		w.adopt = true
		if x.owner.forgetPrepared {
			t.State = PrepareAbort
			w.store(t, w.last().cur)
		}
		return
	}
	x.adoptOpen(w)
}

// adoptOpen brings partitions back into the transaction whose data survived but
// whose record did not.
func (x *explorer) adoptOpen(w *world) {
	w.adopt = false
	if x.owner.noAdoption {
		return
	}
	for p := range w.logs {
		t := w.state()
		k, epoch := w.logs[p].open()
		if k != noTxn && int16(epoch) == t.Producer.Epoch {
			step, err := t.AddPartitions(0, AddRequest{Producer: t.Producer, Partitions: modelSets[1<<p], Version: V2})
			if err == nil && step.Store {
				w.store(step.Next, k)
			}
		}
	}
}

// timeout is the coordinator losing patience.
func (x *explorer) timeout(w world) {
	if t := w.state(); t.State == Ongoing && w.timeouts < x.bounds.timeouts {
		w.timeouts++
		if w.store(t.Abort(0), w.last().cur) {
			x.try("timeout", w)
		}
	}
}

// finish is what the owner does about a decision, as soon as it may: markers,
// then completion. That takes no steps of its own, because a Prepared state lets
// nobody else change anything, and a crash may lose any part of it again.
func (x *explorer) finish(w *world) {
	t := w.state()
	if !t.State.Prepared() || !w.durable() && !x.owner.noPrepare {
		return
	}
	written := true
	for p := range w.logs {
		l := &w.logs[p]
		if w.last().partitions>>p&1 == 0 {
			continue
		}
		there := t.Version == V2 && int16(l.epoch()) >= t.Producer.Epoch && !x.owner.repeatMarkers
		if w.marked>>p&1 == 0 && !there {
			w.marked |= 1 << p
			if !l.append(event{kind: markerOf(t), epoch: int8(t.Producer.Epoch)}) {
				panic("txn: the model's partitions are too short")
			}
		}
		written = written && (l.durable == l.n || x.owner.completeEarly)
	}
	if written && w.store(t.Complete(0), w.last().cur) {
		w.marked = 0
		if w.adopt {
			x.adoptOpen(w)
		}
	}
}

func markerOf(t Txn) uint8 {
	if t.State == PrepareCommit {
		return 'c'
	}
	return 'a'
}

// client lets one client go on.
func (x *explorer) client(w world, c int) {
	me := w.clients[c]
	switch me.phase {
	case idle:
		x.init(w, c, None)
	case asking:
		x.initAnswered(w, c)
	case ready:
		if w.begun < x.bounds.txns {
			w.txns[w.begun] = attempt{owner: uint8(c), epoch: me.epoch}
			w.clients[c].phase, w.clients[c].txn = open, w.begun
			w.begun++
			x.write(w, c)
			x.sendEnd(w, c)
		}
	case open:
		x.write(w, c)
		x.sendEnd(w, c)
	case waiting:
		x.endAnswered(w, c)
		x.init(w, c, int64(me.epoch)) // gives up: the outcome stays unknown
	}
}

func (x *explorer) init(w world, c int, epoch int64) {
	if w.clients[c].inits == x.bounds.inits {
		return
	}
	t := w.state()
	r := InitRequest{Producer: Producer{None, None}}
	if epoch != None {
		r.Producer = Producer{1, int16(epoch)}
	}
	step, err := t.InitProducerID(0, r)
	if x.owner.initKeepsOngoing && t.State == Ongoing && err == ErrConcurrent {
		step, err = t.advance(0, r, None).stored(), nil
	}
	if x.owner.initKeepsEpoch && err == nil && t.Producer.Epoch != None {
		step.Next.Producer.Epoch = t.Producer.Epoch
	}
	next := w
	switch {
	case err == ErrFenced:
		next.clients[c].phase = stopped
	case step.Store:
		cur := uint8(noTxn)
		if step.Next.State == PrepareAbort {
			cur = w.last().cur
		}
		if !next.store(step.Next, cur) {
			return
		}
		if err == nil {
			next.clients[c].phase, next.clients[c].epoch = asking, int8(step.Next.Producer.Epoch)
			next.clients[c].inits++
		}
	default:
		return
	}
	x.try("init", next)
}

// initAnswered tells the client once its producer is durable, and notes who is
// fenced from then on.
func (x *explorer) initAnswered(w world, c int) {
	next := w
	me := &next.clients[c]
	if w.last().epoch != me.epoch {
		me.phase = idle // a crash took it, or a newer client: ask again
		if w.last().epoch > me.epoch {
			me.phase = stopped
		}
		x.try("init lost", next)
		return
	}
	if !w.durable() {
		return
	}
	me.phase = ready
	for k := range next.txns[:next.begun] {
		a := &next.txns[k]
		if a.owner != uint8(c) && w.outcome(uint8(k)) != 'c' {
			a.banned = true
		}
	}
	x.try("init answered", next)
}

// outcome is that of any partition: a torn one is found elsewhere.
func (w *world) outcome(k uint8) uint8 {
	for p := range w.logs {
		if o := w.logs[p].outcome(k); o != 0 {
			return o
		}
	}
	return 0
}

// write adds a partition and writes to it, once per transaction, and again when
// a crash has lost it unacknowledged.
func (x *explorer) write(w world, c int) {
	me := w.clients[c]
	for p := range w.logs {
		if w.logs[p].has(me.txn, w.logs[p].n) {
			continue
		}
		next := w
		t := w.state()
		who := Producer{1, int16(me.epoch)}
		step, err := t.AddPartitions(0, AddRequest{Producer: who, Partitions: modelSets[1<<p], Version: x.owner.version})
		switch {
		case err == ErrConcurrent:
			continue
		case err != nil:
			next.clients[c].phase = stopped
			x.try("fenced", next)
			continue
		case step.Store:
			if !next.store(step.Next, me.txn) {
				continue
			}
			if x.owner.version < V2 { // is answered, and so durable, before the client writes
				x.try("add", next)
				continue
			}
		case x.owner.version < V2 && (!w.durable() || t.Verify(who, modelSets[1<<p][0]) != nil):
			continue
		}
		next.txns[me.txn].wrote |= 1 << p
		if next.logs[p].append(event{kind: 'd', txn: me.txn, epoch: me.epoch}) {
			x.try("write", next)
		}
	}
}

// sendEnd sends a commit when all writes are acknowledged, which is when they
// and the records that name their partitions are durable; an abort at any time.
func (x *explorer) sendEnd(w world, c int) {
	k := w.clients[c].txn
	acknowledged := w.durable() && w.txns[k].wrote != 0
	for p := range w.logs {
		if w.txns[k].wrote>>p&1 == 1 && !w.logs[p].has(k, w.logs[p].durable) {
			acknowledged = false
		}
	}
	for commit := range uint8(2) {
		if commit == 1 && !acknowledged {
			continue
		}
		next := w
		next.clients[c].phase = waiting
		next.txns[k].commit, next.txns[k].sent = commit, 1
		x.try(endNames[commit], next)
	}
}

var endNames = [2]string{"send abort", "send commit"}

func (a attempt) request(v Version) EndRequest {
	return EndRequest{Producer: Producer{1, int16(a.epoch)}, Commit: a.commit == 1, Version: v}
}

// network delivers an EndTxn: now, later, or once more.
func (x *explorer) network(w world) {
	for k := range w.txns[:w.begun] {
		a := w.txns[k]
		waits := w.clients[a.owner].phase == waiting && int(w.clients[a.owner].txn) == k
		if a.sent == 0 || a.delivered == x.bounds.deliveries || !waits && !x.owner.lateEndTxn {
			continue
		}
		t, cur := w.state(), w.last().cur
		r := a.request(x.owner.version)
		if x.owner.olderEpochCommits {
			r.Producer.Epoch = t.Producer.Epoch
		}
		step, err := t.EndTxn(0, r)
		if err == ErrConcurrent {
			continue
		}
		next := w
		next.txns[k].delivered++
		if step.Store {
			if cur != uint8(k) && t.State == Ongoing && x.owner.version == V2 {
				x.fault = fmt.Sprintf("EndTxn of transaction %d ends transaction %d\n\t%s\n%+v", k, cur, strings.Join(x.path, "\n\t"), w)
				return
			}
			if x.owner.noBump {
				step.Next.Producer.Epoch = t.Producer.Epoch
			}
			if !next.store(step.Next, uint8(k)) {
				continue
			}
		}
		x.try("deliver", next)
	}
}

// endAnswered tells the client what a request of its kind is told now, if that
// is durable.
func (x *explorer) endAnswered(w world, c int) {
	if !w.durable() {
		return
	}
	k := w.clients[c].txn
	a := w.txns[k]
	t := w.state()
	r := a.request(x.owner.version)
	step, err := t.EndTxn(0, r)
	decidedHere := err == ErrConcurrent && t.State == r.prepared() && w.last().cur == k && a.delivered > 0
	repeated := err == nil && !step.Store
	if x.owner.oppositeRetry && t.ended(r.Producer) && !t.State.Prepared() {
		repeated = true
	}
	next := w
	me := &next.clients[c]
	switch {
	case decidedHere || repeated:
		me.phase, me.epoch = ready, int8(t.afterwards().Epoch)
		next.txns[k].told = "ac"[a.commit]
	case err == ErrFenced:
		me.phase = stopped
	default:
		return
	}
	x.try("end answered", next)
}
