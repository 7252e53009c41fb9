package broker

import (
	"context"
	"time"

	"millrace/internal/group"
)

// expiryInterval is the time between two looks for old offsets. Kafka's
// offsets.retention.check.interval.ms.
const expiryInterval = 10 * time.Minute

// keep owns what nobody waits for: it forgets old offsets. The first look is not
// at the start, when the clock of a machine may still be wrong.
func (g *groups) keep(ctx context.Context) {
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	clock := wallClock{now: g.now}
	clock.jumped()
	for {
		select {
		case <-tick.C:
			if by, jumped := clock.jumped(); jumped {
				g.b.logger.Warn("the wall clock jumped: offsets are not expired in this round", "by", by)
				continue
			}
			g.expireOffsets(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// wallClock notices when the wall clock does not go as fast as time does. What
// is forgotten by a clock that was wrong for a moment does not come back.
type wallClock struct {
	now    func() time.Time
	wall   time.Time
	steady time.Time
}

const toleratedJump = time.Minute

// jumped says by how much the wall clock moved beyond the time since the last call.
func (c *wallClock) jumped() (by time.Duration, jumped bool) {
	wall, steady := c.now().Round(0), time.Now()
	if !c.wall.IsZero() {
		by = wall.Sub(c.wall) - steady.Sub(c.steady)
	}
	c.wall, c.steady = wall, steady
	return by, by.Abs() > toleratedJump
}

// expireOffsets forgets offsets past their retention, and groups that have
// neither members nor offsets.
func (g *groups) expireOffsets(ctx context.Context) {
	g.each(ctx, func(lg *liveGroup) {
		expired := lg.mu.group.Expired(g.now())
		err := lg.forget(expired)
		if err == nil && lg.mu.group.State() == group.Empty && lg.mu.group.OffsetCount() == 0 && lg.mu.stored >= 0 {
			err = lg.erase()
		}
		if err != nil {
			g.b.logger.Warn("old offsets could not be removed; the next round tries again", "group", lg.id, "error", err)
			return
		}
		if len(expired) > 0 {
			g.b.logger.Info("offsets expired", "group", lg.id, "offsets", len(expired))
		}
	})
}
