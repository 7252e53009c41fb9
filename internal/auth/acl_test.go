package auth

import (
	"encoding/json/v2"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func topicACL(permission Permission, pattern PatternType, name, principal string, o Operation) ACL {
	return ACL{Resource: Topic, Name: name, Pattern: pattern, Principal: principal, Host: Wildcard, Operation: o, Permission: permission}
}

func TestDecisions(t *testing.T) {
	const ana, bob = "User:ana", "User:bob"
	atHost := topicACL(Allow, Literal, "hosted", ana, Read)
	atHost.Host = "10.0.0.1"
	group := topicACL(Allow, Literal, "clicks", ana, All)
	group.Resource = Group
	acls := NewACLs(
		topicACL(Allow, Literal, "clicks", ana, Read),
		topicACL(Allow, Prefixed, "log-", ana, Write),
		topicACL(Deny, Prefixed, "log-secret-", AnyPrincipal, All),
		topicACL(Allow, Literal, "open", AnyPrincipal, All),
		topicACL(Deny, Literal, "open", bob, Write),
		topicACL(Allow, Literal, Wildcard, "User:auditor", Describe),
		topicACL(Deny, Literal, Wildcard, "User:outcast", Read),
		topicACL(Allow, Literal, "clicks", "User:outcast", All),
		topicACL(Allow, Literal, "settings", ana, AlterConfigs),
		atHost, group,
	)
	for _, tc := range []struct {
		who  string
		o    Operation
		name string
		want bool
	}{
		{ana, Read, "clicks", true}, {ana, Describe, "clicks", true}, {ana, Write, "clicks", false}, {bob, Read, "clicks", false},
		{ana, Read, "click", false}, {ana, Read, "clicks2", false}, {ana, DescribeConfigs, "clicks", false},
		{ana, Write, "log-1", true}, {ana, Write, "log-", true}, {ana, Write, "log", false}, {ana, Describe, "log-1", true},
		{ana, Write, "log-secret-1", false}, {ana, Describe, "log-secret-1", false}, {ana, Write, "log-secret", true},
		{bob, Read, "open", true}, {bob, Write, "open", false}, {bob, Describe, "open", true}, {ana, Write, "open", true},
		{"User:auditor", Describe, "anything", true}, {"User:auditor", Read, "anything", false},
		{"User:outcast", Read, "clicks", false}, {"User:outcast", Write, "clicks", true},
		{ana, DescribeConfigs, "settings", true}, {ana, Describe, "settings", false},
		{ana, Read, "hosted", false}, {ana, Read, "none", false},
	} {
		if got := acls.Allowed(tc.who, "10.0.0.2", tc.o, Topic, tc.name); got != tc.want {
			t.Errorf("%s, operation %d on %s: %v", tc.who, tc.o, tc.name, got)
		}
	}
	if !acls.Allowed(ana, "10.0.0.1", Read, Topic, "hosted") {
		t.Error("the host of the entry is refused")
	}
	if !acls.Allowed(ana, "10.0.0.2", Delete, Group, "clicks") || acls.Allowed(ana, "10.0.0.2", Delete, Topic, "clicks") {
		t.Error("resource types are mixed up")
	}
}

// slowAllowed is the rule as it is written, over all entries.
func slowAllowed(entries []ACL, principal, host string, o Operation, kind ResourceType, name string) bool {
	allowed := false
	for _, a := range entries {
		if a.Resource != kind || !a.covers(name) || !a.concerns(principal, host) {
			continue
		}
		if a.denies(o) {
			return false
		}
		allowed = allowed || a.allows(o)
	}
	return allowed
}

// The index decides as a look at all entries does, and AllowedSome as a look at
// all names.
func TestIndexDecidesAsTheRule(t *testing.T) {
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	pick := func(options ...string) string { return options[rng.IntN(len(options))] }
	var names []string
	for _, a := range []string{"", "a", "b"} {
		for _, b := range []string{"a", "b"} {
			names = append(names, a+b, a+b+"a", a+b+"bz")
		}
	}
	for round := range 3000 {
		var entries []ACL
		for range rng.IntN(8) {
			entries = append(entries, ACL{
				Resource: ResourceType(2 + rng.IntN(2)), Name: pick("*", "a", "ab", "b", "ba", "aa"), Pattern: PatternType(3 + rng.IntN(2)),
				Principal: pick("User:ana", "User:*", "User:bob"), Host: pick("*", "h1", "h2"),
				Operation: Operation(2 + rng.IntN(7)), Permission: Permission(2 + rng.IntN(2)),
			})
		}
		acls := NewACLs(entries...)
		o := Operation(3 + rng.IntN(6))
		some := false
		for _, name := range names {
			want := slowAllowed(entries, "User:ana", "h1", o, Topic, name)
			if got := acls.Allowed("User:ana", "h1", o, Topic, name); got != want {
				t.Fatalf("seed %d round %d: operation %d on %q is %v, want %v, by %+v", seed, round, o, name, got, want, entries)
			}
			some = some || want
		}
		if o != Describe && o != DescribeConfigs && some && !acls.AllowedSome("User:ana", "h1", o, Topic) {
			t.Fatalf("seed %d round %d: some name may be operated on by %d, AllowedSome says no: %+v", seed, round, o, entries)
		}
	}
}

func TestAllowedSome(t *testing.T) {
	grant := topicACL(Allow, Prefixed, "log-", "User:ana", Write)
	for name, tc := range map[string]struct {
		entries []ACL
		want    bool
	}{
		"nothing":          {nil, false},
		"granted":          {[]ACL{grant}, true},
		"other operation":  {[]ACL{topicACL(Allow, Literal, "x", "User:ana", Read)}, false},
		"all operations":   {[]ACL{topicACL(Allow, Literal, "x", "User:ana", All)}, true},
		"denied elsewhere": {[]ACL{grant, topicACL(Deny, Prefixed, "log-secret", "User:*", All)}, true},
		"prefix denied":    {[]ACL{grant, topicACL(Deny, Prefixed, "lo", "User:*", All)}, false},
		"all denied":       {[]ACL{grant, topicACL(Deny, Literal, "*", "User:ana", Write)}, false},
		"literal denied":   {[]ACL{topicACL(Allow, Literal, "x", "User:ana", Write), topicACL(Deny, Literal, "x", "User:ana", Write)}, false},
		"wildcard":         {[]ACL{topicACL(Allow, Literal, "*", "User:ana", Write), topicACL(Deny, Prefixed, "x", "User:ana", Write)}, true},
	} {
		if got := NewACLs(tc.entries...).AllowedSome("User:ana", "h", Write, Topic); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFilters(t *testing.T) {
	text := func(s string) *string { return &s }
	any := Filter{Resource: AnyResource, Pattern: AnyPattern, Operation: AnyOperation, Permission: AnyPermission}
	literal := topicACL(Allow, Literal, "clicks", "User:ana", Read)
	prefixed := topicACL(Deny, Prefixed, "cli", "User:bob", Write)
	wildcard := topicACL(Allow, Literal, "*", "User:ana", Describe)
	acls := NewACLs(literal, prefixed, wildcard)
	with := func(edit func(*Filter)) Filter { f := any; edit(&f); return f }
	for name, tc := range map[string]struct {
		f    Filter
		want []ACL
	}{
		"any":          {any, []ACL{wildcard, literal, prefixed}},
		"name":         {with(func(f *Filter) { f.Name = text("clicks") }), []ACL{literal}},
		"match":        {with(func(f *Filter) { f.Name, f.Pattern = text("clicks"), Match }), []ACL{wildcard, literal, prefixed}},
		"match other":  {with(func(f *Filter) { f.Name, f.Pattern = text("click"), Match }), []ACL{wildcard, prefixed}},
		"prefixed":     {with(func(f *Filter) { f.Pattern = Prefixed }), []ACL{prefixed}},
		"principal":    {with(func(f *Filter) { f.Principal = text("User:bob") }), []ACL{prefixed}},
		"permission":   {with(func(f *Filter) { f.Permission = Deny }), []ACL{prefixed}},
		"operation":    {with(func(f *Filter) { f.Operation = Read }), []ACL{literal}},
		"other host":   {with(func(f *Filter) { f.Host = text("10.1.1.1") }), nil},
		"other type":   {with(func(f *Filter) { f.Resource = Group }), nil},
		"literal star": {with(func(f *Filter) { f.Name, f.Pattern = text("*"), Literal }), []ACL{wildcard}},
	} {
		if got := acls.Matching(tc.f); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %+v", name, got)
		}
		if err := tc.f.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	left := acls.Without(acls.Matching(with(func(f *Filter) { f.Principal = text("User:ana") }))...)
	if got := left.Entries(); !slices.Equal(got, []ACL{prefixed}) {
		t.Errorf("left: %+v", got)
	}
}

func TestChecks(t *testing.T) {
	good := topicACL(Allow, Literal, "clicks", "User:ana", Read)
	for name, edit := range map[string]func(*ACL){
		"any resource":  func(a *ACL) { a.Resource = AnyResource },
		"resource 8":    func(a *ACL) { a.Resource = 8 },
		"match pattern": func(a *ACL) { a.Pattern = Match },
		"any operation": func(a *ACL) { a.Operation = AnyOperation },
		"operation 99":  func(a *ACL) { a.Operation = 99 },
		"no permission": func(a *ACL) { a.Permission = 0 },
		"no name":       func(a *ACL) { a.Name = "" },
		"cluster name":  func(a *ACL) { a.Resource = Cluster },
		"no principal":  func(a *ACL) { a.Principal = "ana" },
		"no host":       func(a *ACL) { a.Host = "" },
		"long":          func(a *ACL) { a.Name = strings.Repeat("x", maxACLText+1) },
	} {
		bad := good
		edit(&bad)
		if err := bad.Check(); !errors.Is(err, ErrACL) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "a\nb", "\xff", strings.Repeat("x", maxName+1)} {
		if err := CheckName(name); !errors.Is(err, ErrCredential) {
			t.Errorf("user %q: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		password   string
		salt       string
		iterations int
	}{"empty": {"", "12345678", MinIterations}, "few": {"x", "12345678", MinIterations - 1}, "many": {"x", "12345678", MaxIterations + 1}, "salt": {"x", "1234567", MinIterations}} {
		if _, err := NewCredential(ScramSHA256, c.password, []byte(c.salt), c.iterations); !errors.Is(err, ErrCredential) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUsersNeverChange(t *testing.T) {
	u := usersWith(t, "ana", "s3cret")
	less, err := u.Without("ana", ScramSHA512)
	if err != nil || len(u.Mechanisms("ana")) != 2 || len(less.Mechanisms("ana")) != 1 {
		t.Fatalf("%v: %v, %v", err, u.Mechanisms("ana"), less.Mechanisms("ana"))
	}
	none, err := less.Without("ana", ScramSHA256)
	if err != nil || none.Len() != 0 || less.Len() != 1 {
		t.Fatalf("%v: %d, %d", err, none.Len(), less.Len())
	}
	if _, err := none.Without("ana", ScramSHA256); !errors.Is(err, ErrNoUser) {
		t.Errorf("removed twice: %v", err)
	}
	real, known := u.Credential("ana", ScramSHA256)
	decoy, unknown := u.Credential("bob", ScramSHA256)
	again, _ := u.Credential("bob", ScramSHA256)
	if !known || unknown || !reflect.DeepEqual(decoy, again) || len(real.StoredKey) != len(decoy.StoredKey) {
		t.Error("a decoy must stay the same and look like a credential")
	}
}

func TestDocumentKeepsEverything(t *testing.T) {
	u := usersWith(t, "ana", "s3cret")
	acls := NewACLs(topicACL(Allow, Prefixed, "log-", "User:ana", Write), topicACL(Deny, Literal, "*", "User:bob", All))
	text, err := json.Marshal(NewDocument(u, acls), json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	var d Document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	u2, acls2, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(u, u2) || !reflect.DeepEqual(acls.Entries(), acls2.Entries()) {
		t.Errorf("read back other users or ACLs from %s", text)
	}
	if strings.Contains(string(text), "s3cret") {
		t.Error("the password is in the file")
	}
	d.ACLs[0].Host = ""
	if _, _, err := d.Open(); err == nil {
		t.Error("an invalid entry is accepted")
	}
}

// FuzzDocument: whatever is in the file, it is refused or means the same when it
// is written again.
func FuzzDocument(f *testing.F) {
	u := usersWith(f, "ana", "s3cret")
	for _, acls := range []*ACLs{NewACLs(), NewACLs(topicACL(Allow, Prefixed, "log-", "User:ana", Write))} {
		text, err := json.Marshal(NewDocument(u, acls))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var d, d2 Document
		if json.Unmarshal(text, &d) != nil {
			return
		}
		users, acls, err := d.Open()
		if err != nil {
			return
		}
		again, err := json.Marshal(NewDocument(users, acls))
		if err == nil {
			err = json.Unmarshal(again, &d2)
		}
		if err != nil {
			t.Fatal(err)
		}
		users2, acls2, err := d2.Open()
		if err != nil || !reflect.DeepEqual(users, users2) || !reflect.DeepEqual(acls.Entries(), acls2.Entries()) {
			t.Fatalf("%v: written again it means something else", err)
		}
	})
}

func BenchmarkAllowed(b *testing.B) {
	var entries []ACL
	for i := range 1000 {
		entries = append(entries, topicACL(Allow, Literal, fmt.Sprintf("topic-%d", i), fmt.Sprintf("User:u%d", i), Write))
	}
	entries = append(entries, topicACL(Allow, Prefixed, "topic-", "User:ana", Read), topicACL(Deny, Prefixed, "topic-9", "User:bob", Read))
	acls := NewACLs(entries...)
	b.ReportAllocs()
	for b.Loop() {
		if !acls.Allowed("User:ana", "10.0.0.1", Read, Topic, "topic-500") {
			b.Fatal("denied")
		}
	}
}
