package agg

import "millrace/codec"

// Pair is two accumulators or two results.
type Pair[A, B any] struct {
	First  A
	Second B
}

// Both is a and b in one pass over the records. Nest it for more than two.
func Both[V, A1, R1, A2, R2 any](a Agg[V, A1, R1], b Agg[V, A2, R2]) Agg[V, Pair[A1, A2], Pair[R1, R2]] {
	a, b = a.WithDefaults(), b.WithDefaults()
	both := Agg[V, Pair[A1, A2], Pair[R1, R2]]{
		Name: "both(" + a.Name + "," + b.Name + ")",
		Init: func() Pair[A1, A2] { return Pair[A1, A2]{a.Init(), b.Init()} },
		Add: func(p Pair[A1, A2], v V) Pair[A1, A2] {
			return Pair[A1, A2]{a.Add(p.First, v), b.Add(p.Second, v)}
		},
		Result: func(p Pair[A1, A2]) Pair[R1, R2] {
			return Pair[R1, R2]{a.Result(p.First), b.Result(p.Second)}
		},
		Codec: pairCodec[A1, A2]{a.Codec, b.Codec},
	}
	if a.Merge != nil && b.Merge != nil {
		both.Merge = func(x, y Pair[A1, A2]) Pair[A1, A2] {
			return Pair[A1, A2]{a.Merge(x.First, y.First), b.Merge(x.Second, y.Second)}
		}
	}
	if a.Retract != nil && b.Retract != nil {
		both.Retract = func(p Pair[A1, A2], v V) Pair[A1, A2] {
			return Pair[A1, A2]{a.Retract(p.First, v), b.Retract(p.Second, v)}
		}
	}
	if a.Clone != nil && b.Clone != nil {
		both.Clone = func(p Pair[A1, A2]) Pair[A1, A2] {
			return Pair[A1, A2]{a.Clone(p.First), b.Clone(p.Second)}
		}
	}
	return both
}

// pairCodec stores both parts, each after its length.
type pairCodec[A, B any] struct {
	first  codec.Codec[A]
	second codec.Codec[B]
}

func (c pairCodec[A, B]) Name() string {
	return "pair(" + c.first.Name() + "," + c.second.Name() + ")"
}

func (c pairCodec[A, B]) Append(dst []byte, p Pair[A, B]) ([]byte, error) {
	dst, err := appendWith(dst, c.first, p.First)
	if err != nil {
		return dst, err
	}
	return appendWith(dst, c.second, p.Second)
}

func (c pairCodec[A, B]) Decode(b []byte) (p Pair[A, B], err error) {
	if p.First, b, err = decodePart(c.first, b); err != nil {
		return p, err
	}
	p.Second, b, err = decodePart(c.second, b)
	return p, wholly(err, b)
}
