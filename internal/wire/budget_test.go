package wire_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"millrace/internal/wire"
)

// Waiters are served in order: the large one at the front is not starved by the
// small one behind it, which would fit.
func TestBudgetServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := wire.NewBudget(100)
		mustAcquire(t, b, 60)
		order := make(chan string, 2)
		go func() { mustAcquire(t, b, 80); order <- "large" }()
		synctest.Wait()
		go func() { mustAcquire(t, b, 20); order <- "small" }()
		synctest.Wait()
		if b.TryAcquire(1) {
			t.Error("TryAcquire overtook the waiters")
		}
		equal(t, "served early", len(order), 0)
		b.Release(60)
		synctest.Wait()
		equal(t, "used", b.UsedBytes(), 100)
		equal(t, "served", len(order), 2)
	})
}

// A waiter that gives up lets those behind it through.
func TestBudgetWaiterThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := wire.NewBudget(100)
		mustAcquire(t, b, 60)
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- b.Acquire(ctx, 80) }()
		synctest.Wait()
		served := make(chan struct{})
		go func() { mustAcquire(t, b, 40); close(served) }()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		<-served
		equal(t, "used", b.UsedBytes(), 100)
	})
}

func TestBudgetRefusesMoreThanItself(t *testing.T) {
	if err := wire.NewBudget(100).Acquire(t.Context(), 101); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

// Many takers with many timeouts: never beyond the limit, nothing lost at the
// end.
func TestBudgetUnderContention(t *testing.T) {
	const limit, takers, rounds = 1000, 8, 2000
	b := wire.NewBudget(limit)
	var all sync.WaitGroup
	for seed := range uint64(takers) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for range rounds {
				takeAndRelease(t, b, rng, limit)
			}
		})
	}
	all.Wait()
	equal(t, "used at the end", b.UsedBytes(), 0)
	if !b.TryAcquire(limit) {
		t.Error("the whole budget is not free at the end")
	}
}

func takeAndRelease(t *testing.T, b *wire.Budget, rng *rand.Rand, limit int64) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if rng.IntN(4) == 0 {
		cancel()
	}
	n := 1 + rng.Int64N(limit)
	if b.Acquire(ctx, n) != nil {
		return
	}
	if used := b.UsedBytes(); used > limit {
		t.Errorf("%d bytes are out of a budget of %d", used, limit)
	}
	b.Release(n)
}

func mustAcquire(t *testing.T, b *wire.Budget, n int64) {
	if err := b.Acquire(t.Context(), n); err != nil {
		t.Error(err)
	}
}
