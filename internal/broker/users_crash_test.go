package broker

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"millrace/internal/auth"
	"millrace/internal/vfs/crashfs"
)

// securityState is what must survive: who can log in by which mechanisms, and
// who may do what.
type securityState struct {
	users map[string][]auth.Mechanism
	acls  []auth.ACL
}

func stateOf(s *security) securityState {
	state := securityState{users: map[string][]auth.Mechanism{}, acls: s.acls().Entries()}
	for _, name := range s.users().Names() {
		state.users[name] = s.users().Mechanisms(name)
	}
	return state
}

type securityStep struct {
	name string
	run  func(*security) error
}

func userStep(name string, m auth.Mechanism) securityStep {
	return securityStep{fmt.Sprintf("user %s %s", name, m), func(s *security) error {
		return s.changeUsers(func(u *auth.Users) (*auth.Users, error) {
			salted := make([]byte, map[auth.Mechanism]int{auth.ScramSHA256: 32, auth.ScramSHA512: 64}[m])
			c, err := auth.SaltedCredential(m, salted, []byte("0123456789"), auth.MinIterations)
			if err != nil {
				return nil, err
			}
			return u.With(name, m, c)
		})
	}}
}

func noUserStep(name string, m auth.Mechanism) securityStep {
	return securityStep{"no user " + name, func(s *security) error {
		return s.changeUsers(func(u *auth.Users) (*auth.Users, error) { return u.Without(name, m) })
	}}
}

func testACL(topic string) auth.ACL {
	return auth.ACL{Resource: auth.Topic, Name: topic, Pattern: auth.Literal, Principal: "User:ana", Host: "*", Operation: auth.Read, Permission: auth.Allow}
}

func aclStep(topics ...string) securityStep {
	return securityStep{fmt.Sprint("ACLs ", topics), func(s *security) error {
		return s.change(func(now rights) (rights, error) {
			var err error
			for _, topic := range topics {
				if err == nil {
					now.acls, err = now.acls.With(testACL(topic))
				}
			}
			return now, err
		})
	}}
}

func noACLStep(topic string) securityStep {
	return securityStep{"no ACL " + topic, func(s *security) error {
		return s.change(func(now rights) (rights, error) { return rights{now.users, now.acls.Without(testACL(topic))}, nil })
	}}
}

var securitySteps = []securityStep{
	userStep("ana", auth.ScramSHA256), userStep("ana", auth.ScramSHA512), aclStep("a", "b"), userStep("bob", auth.ScramSHA512),
	noACLStep("a"), noUserStep("ana", auth.ScramSHA256), aclStep("c"), noUserStep("ana", auth.ScramSHA512), noUserStep("bob", auth.ScramSHA512),
}

func openSecurityOn(fsys *crashfs.FS) (*security, error) {
	if err := fsys.MkdirAll(topicsDir); err != nil {
		return nil, err
	}
	return openSecurity(fsys, nil, slog.New(slog.DiscardHandler))
}

// What was answered survives a power cut after any operation; what was in
// progress happened or did not, as a whole.
func TestUsersAndACLsSurvivePowerCuts(t *testing.T) {
	fsys := crashfs.New()
	s, err := openSecurityOn(fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{metadataDir, "."} { // as the catalog does at its start
		if err := fsys.SyncDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	states := []securityState{stateOf(s)}
	for _, step := range securitySteps { // what each step comes to, on a disk of its own
		model, err := openSecurityOn(crashfs.New())
		if err != nil {
			t.Fatal(err)
		}
		for _, earlier := range securitySteps[:len(states)] {
			if err := earlier.run(model); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		states = append(states, stateOf(model))
	}
	var mu sync.Mutex
	done, checked := 0, 0
	fsys.OnOp(nil, func(op crashfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		for _, policy := range crashfs.Policies() {
			checked++
			again, err := openSecurityOn(fsys.Crash(policy, uint64(op.N)))
			if err != nil {
				t.Errorf("power cut (%v) after %v, %d steps done: %v", policy, op, done, err)
				continue
			}
			if got := stateOf(again); !reflect.DeepEqual(got, states[done]) && !reflect.DeepEqual(got, states[min(done+1, len(securitySteps))]) {
				t.Errorf("power cut (%v) after %v, %d steps done: got %+v", policy, op, done, got)
			}
		}
	})
	for i, step := range securitySteps {
		if err := step.run(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		mu.Lock()
		done = i + 1
		mu.Unlock()
	}
	if checked < 100 {
		t.Errorf("only %d crash states were checked", checked)
	}
	t.Logf("%d crash states", checked)
}

// When the disk refuses, nothing changes for those who log in now, and the next
// start finds the state before or after.
func TestUsersAndACLsUnderDiskErrors(t *testing.T) {
	for nth := 1; ; nth++ {
		fsys := crashfs.New()
		s, err := openSecurityOn(fsys)
		if err != nil {
			t.Fatal(err)
		}
		if err := aclStep("kept").run(s); err != nil {
			t.Fatal(err)
		}
		before := stateOf(s)
		hits := fsys.Inject(crashfs.Fault{Nth: nth, Err: errDisk})
		failed := userStep("ana", auth.ScramSHA256).run(s)
		fsys.Heal()
		if hits() == 0 {
			if nth < 4 {
				t.Errorf("only %d operations could fail", nth-1)
			}
			return
		}
		if failed == nil || !reflect.DeepEqual(stateOf(s), before) {
			t.Errorf("operation %d failed: %v, and users are %v", nth, failed, stateOf(s))
		}
		again, err := openSecurityOn(fsys)
		if err != nil {
			t.Fatalf("operation %d failed: %v", nth, err)
		}
		if got := stateOf(again); !slices.Equal(got.acls, before.acls) {
			t.Errorf("operation %d failed: ACLs are %v after a restart", nth, got.acls)
		}
		if err := userStep("bob", auth.ScramSHA256).run(s); err != nil {
			t.Errorf("operation %d failed, and no later one works: %v", nth, err)
		}
	}
}

// Damage keeps the broker from starting: half of the rules would let in, or keep
// out, the wrong people.
func TestDamagedUsersFailClosed(t *testing.T) {
	fsys := crashfs.New()
	s, err := openSecurityOn(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if err := userStep("ana", auth.ScramSHA256).run(s); err != nil {
		t.Fatal(err)
	}
	if err := fsys.FlipBit(metadataDir+"/"+securityFile, 200); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{FS: fsys}); err == nil || !strings.Contains(err.Error(), "put back metadata/security from a backup") {
		t.Errorf("opened with damaged users: %v", err)
	}
}
