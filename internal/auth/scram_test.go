package auth

import (
	"crypto/pbkdf2"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestScramVectorOfRFC7677 plays the exchange of RFC 7677 section 3.
func TestScramVectorOfRFC7677(t *testing.T) {
	c, err := NewCredential(ScramSHA256, "pencil", unbase64(t, "W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
	if err != nil {
		t.Fatal(err)
	}
	s := NewScram(ScramSHA256, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", func(string) Credential { return c })
	for _, turn := range []struct {
		client, server string
		done           bool
	}{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", false},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", true},
	} {
		got, done, err := s.Step([]byte(turn.client))
		if err != nil || string(got) != turn.server || done != turn.done {
			t.Fatalf("to %q: %q, done %v, %v; want %q", turn.client, got, done, err, turn.server)
		}
	}
	if s.User() != "user" {
		t.Errorf("user %q", s.User())
	}
}

// client is a SCRAM client of its own, written after RFC 5802 alone.
type client struct {
	m                 Mechanism
	header, user      string
	password          string
	nonce, first, all string
	doubled           bool // the nonce as librdkafka before 2.6.1 repeats it
}

func (c *client) hello() string {
	c.first = "n=" + c.user + ",r=" + c.nonce
	return c.header + c.first
}

func (c *client) proof(serverFirst string) string {
	fields := strings.SplitN(serverFirst, ",", 3)
	salt, _ := base64.StdEncoding.DecodeString(fields[1][2:])
	var iterations int
	_, _ = fmt.Sscanf(fields[2], "i=%d", &iterations)
	salted, _ := pbkdf2.Key(c.m.hash(), c.password, salt, iterations, c.m.hash()().Size())
	clientKey := mac(c.m, salted, "Client Key")
	nonce := fields[0]
	if c.doubled {
		nonce = "r=" + c.nonce + nonce[2:]
	}
	bare := "c=" + base64.StdEncoding.EncodeToString([]byte(c.header)) + "," + nonce
	c.all = c.first + "," + serverFirst + "," + bare
	signature := mac(c.m, digest(c.m, clientKey), c.all)
	subtle.XORBytes(signature, signature, clientKey)
	return bare + ",p=" + base64.StdEncoding.EncodeToString(signature)
}

func usersWith(t testing.TB, name, password string) *Users {
	t.Helper()
	u := NewUsers([]byte(strings.Repeat("s", SecretBytes)))
	for _, m := range ScramMechanisms() {
		c, err := NewCredential(m, password, []byte("0123456789abcdef"), MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		if u, err = u.With(name, m, c); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func login(u *Users, c *client) (user string, err error) {
	s := NewScram(c.m, "SERVER", func(name string) Credential { found, _ := u.Credential(name, c.m); return found })
	first, _, err := s.Step([]byte(c.hello()))
	if err != nil {
		return "", err
	}
	_, done, err := s.Step([]byte(c.proof(string(first))))
	if err == nil && !done {
		err = errors.New("not done")
	}
	return s.User(), err
}

func TestScramLogins(t *testing.T) {
	u := usersWith(t, "an,a=1", "s3cret")
	for _, m := range ScramMechanisms() {
		for name, tc := range map[string]struct {
			c    client
			want error
		}{
			"right":               {client{header: "n,,", user: "an=2Ca=3D1", password: "s3cret"}, nil},
			"binding not offered": {client{header: "y,,", user: "an=2Ca=3D1", password: "s3cret"}, nil},
			"nonce doubled":       {client{header: "n,,", user: "an=2Ca=3D1", password: "s3cret", doubled: true}, nil},
			"as itself":           {client{header: "n,a=an=2Ca=3D1,", user: "an=2Ca=3D1", password: "s3cret"}, nil},
			"as another":          {client{header: "n,a=root,", user: "an=2Ca=3D1", password: "s3cret"}, ErrDenied},
			"wrong password":      {client{header: "n,,", user: "an=2Ca=3D1", password: "s3creT"}, ErrDenied},
			"no such user":        {client{header: "n,,", user: "bob", password: "s3cret"}, ErrDenied},
			"bad escape":          {client{header: "n,,", user: "an=2ca", password: "s3cret"}, ErrMalformed},
			"channel binding":     {client{header: "p=tls-unique,,", user: "bob", password: "s3cret"}, ErrMalformed},
		} {
			tc.c.m, tc.c.nonce = m, "CLIENT"
			user, err := login(u, &tc.c)
			if !errors.Is(err, tc.want) || err == nil && user != "an,a=1" {
				t.Errorf("%s %s: user %q, %v; want %v", m, name, user, err, tc.want)
			}
		}
	}
}

// Every wrong message ends the login; no later one can revive it.
func TestScramRefusesWhatIsMalformed(t *testing.T) {
	u := usersWith(t, "ana", "s3cret")
	find := func(name string) Credential { c, _ := u.Credential(name, ScramSHA256); return c }
	for _, first := range []string{
		"", ",", "n,,", "n,,n=ana", "n,,r=x,n=ana", "n,,n=ana,r=", "n,,m=x,n=ana,r=y", "x,,n=ana,r=y", "n,b=c,n=ana,r=y",
		"n,,n=ana,r=a\x01b", "n,,n=a\x00na,r=y", "n,,n=\xff,r=y", strings.Repeat("n", maxMessage+1),
	} {
		s := NewScram(ScramSHA256, "SERVER", find)
		if _, done, err := s.Step([]byte(first)); !errors.Is(err, ErrMalformed) || done {
			t.Errorf("%q: %v, done %v", first, err, done)
		}
		if _, done, err := s.Step([]byte("n,,n=ana,r=y")); err == nil || done {
			t.Errorf("%q: the login goes on after it", first)
		}
	}
	c := client{m: ScramSHA256, header: "n,,", user: "ana", password: "s3cret", nonce: "CLIENT"}
	for name, spoil := range map[string]func(string) string{
		"no proof":         func(s string) string { return s[:strings.Index(s, ",p=")] },
		"another nonce":    func(s string) string { return strings.Replace(s, "CLIENTSERVER", "CLIENTSERVEr", 1) },
		"the client's own": func(s string) string { return strings.Replace(s, "CLIENTSERVER", "CLIENT", 1) },
		"another binding":  func(s string) string { return strings.Replace(s, "c=biws", "c=eSws", 1) },
		"no base64":        func(s string) string { return s + "!" },
		"short":            func(s string) string { return s[:strings.Index(s, ",p=")+3] },
		"empty":            func(string) string { return "" },
	} {
		s := NewScram(ScramSHA256, "SERVER", find)
		server, _, err := s.Step([]byte(c.hello()))
		if err != nil {
			t.Fatal(err)
		}
		right := c.proof(string(server))
		if _, done, err := s.Step([]byte(spoil(right))); err == nil || done {
			t.Errorf("%s: accepted", name)
		}
		if _, done, err := s.Step([]byte(right)); err == nil || done {
			t.Errorf("%s: a second attempt in the same login", name)
		}
	}
}

func TestPlain(t *testing.T) {
	for message, want := range map[string]struct {
		user, password string
		err            error
	}{
		"\x00ana\x00pw":     {"ana", "pw", nil},
		"ana\x00ana\x00p w": {"ana", "p w", nil},
		"root\x00ana\x00pw": {"", "", ErrDenied},
		"ana\x00pw":         {"", "", ErrMalformed},
		"\x00ana\x00":       {"", "", ErrMalformed},
		"\x00\x00pw":        {"", "", ErrMalformed},
		"\x00ana\x00pw\x00": {"", "", ErrMalformed},
		"\x00ana\x00\xff":   {"", "", ErrMalformed},
		"":                  {"", "", ErrMalformed},
	} {
		user, password, err := ParsePlain([]byte(message))
		if user != want.user || password != want.password || !errors.Is(err, want.err) {
			t.Errorf("%q: %q %q %v", message, user, password, err)
		}
	}
	u := usersWith(t, "ana", "s3cret")
	for name, want := range map[[2]string]bool{{"ana", "s3cret"}: true, {"ana", "s3creT"}: false, {"bob", "s3cret"}: false} {
		if got := u.Verify(name[0], name[1]); got != want {
			t.Errorf("%v: %v", name, got)
		}
	}
}

func FuzzScram(f *testing.F) {
	c := client{m: ScramSHA256, header: "n,,", user: "ana", password: "wrong", nonce: "CLIENT"}
	u := usersWith(f, "ana", "s3cret")
	find := func(name string) Credential { c, _ := u.Credential(name, ScramSHA256); return c }
	server, _, err := NewScram(ScramSHA256, "SERVER", find).Step([]byte(c.hello()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(c.hello()), []byte(c.proof(string(server))))
	f.Add([]byte("n,a=ana,n=ana,r=x,ext=1"), []byte("c=,r=,p="))
	f.Fuzz(func(t *testing.T, first, final []byte) {
		s := NewScram(ScramSHA256, "SERVER", find)
		if _, done, err := s.Step(first); done {
			t.Fatalf("logged in by the first message: %v", err)
		}
		if _, done, _ := s.Step(final); done {
			t.Fatalf("%q and %q log in without the password", first, final)
		}
	})
}

// BenchmarkLogin is what a login costs the server: SCRAM next to nothing, PLAIN
// the whole derivation, which is why few of those run at the same time.
func BenchmarkLogin(b *testing.B) {
	u := NewUsers([]byte(strings.Repeat("s", SecretBytes)))
	for _, m := range ScramMechanisms() {
		c, err := NewCredential(m, "s3cret", []byte("0123456789abcdef"), DefaultIterations)
		if err != nil {
			b.Fatal(err)
		}
		if u, err = u.With("ana", m, c); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("SCRAM-SHA-256", func(b *testing.B) {
		c := client{m: ScramSHA256, header: "n,,", user: "ana", password: "s3cret", nonce: "CLIENT"}
		find := func(name string) Credential { found, _ := u.Credential(name, ScramSHA256); return found }
		first, _, err := NewScram(ScramSHA256, "SERVER", find).Step([]byte(c.hello()))
		if err != nil {
			b.Fatal(err)
		}
		hello, proof := []byte(c.hello()), []byte(c.proof(string(first)))
		b.ReportAllocs()
		for b.Loop() {
			s := NewScram(ScramSHA256, "SERVER", find)
			if _, _, err := s.Step(hello); err != nil {
				b.Fatal(err)
			}
			if _, done, err := s.Step(proof); err != nil || !done {
				b.Fatal(err)
			}
		}
	})
	b.Run("PLAIN", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !u.Verify("ana", "s3cret") {
				b.Fatal("denied")
			}
		}
	})
}
