//go:build synctests

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// An input that is deleted between a session's preflight and its joining the
// group is given to nobody, so that no unit fails which could say so.
func TestDeletedInputIsNamedThatNobodyHas(t *testing.T) {
	for _, on := range []clusterKind{onFake, onOurs} {
		t.Run(fmt.Sprintf("ours=%v", on == onOurs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldOn(t, 42, rekeyPlan("app"), 1, on)
				defer w.close()
				var once sync.Once
				w.forge = func(frame []byte) []byte {
					if facts, _ := w.admin.Facts(context.Background()); facts["app-counts-changelog"].Partitions > 0 && namesInput(frame) {
						once.Do(func() {
							if err := w.admin.DeleteTopic(context.Background(), "in"); err != nil {
								w.t.Error(err)
							}
						})
					}
					return frame
				}
				a := w.node("a").start()
				w.awaitError(a, isWithNobody)
				w.mustNotExist("in")
				for range 20 {
					time.Sleep(500 * time.Millisecond)
					if s := a.engine.Status(); s.State != Degraded || !isWithNobody(s.Err) {
						w.t.Fatalf("the job is %s and says %v; %+v", s.State, s.Err, s.Tasks)
					}
				}
			})
		})
	}
}

func isWithNobody(err error) bool {
	unassigned, is := errors.AsType[*UnassignedError](err)
	return is && unassigned.Topic == "in"
}

// namesInput reports that a request asks for the metadata of the input by name,
// as the group's members do.
func namesInput(frame []byte) bool {
	if key := int16(binary.BigEndian.Uint16(frame[4:])); key != metadataKey {
		return false
	}
	request := parseRequest(frame).(*kmsg.MetadataRequest)
	asks := func(topic string) bool {
		return slices.ContainsFunc(request.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.Topic != nil && *t.Topic == topic })
	}
	return asks("in") && asks("app-counts-repartition")
}

const metadataKey = 3
