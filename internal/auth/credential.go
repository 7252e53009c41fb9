package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"unicode"
	"unicode/utf8"
)

// Mechanism is the name of a SASL mechanism.
type Mechanism string

const (
	Plain       Mechanism = "PLAIN"         // RFC 4616: the password itself
	ScramSHA256 Mechanism = "SCRAM-SHA-256" // RFC 7677
	ScramSHA512 Mechanism = "SCRAM-SHA-512" // as RFC 7677, with the longer hash
)

// ScramMechanisms are those for which credentials are stored.
func ScramMechanisms() []Mechanism { return []Mechanism{ScramSHA256, ScramSHA512} }

// hash is the mechanism's hash function, nil for one that is not SCRAM.
func (m Mechanism) hash() func() hash.Hash {
	switch m {
	case ScramSHA256:
		return sha256.New
	case ScramSHA512:
		return sha512.New
	}
	return nil
}

// Bounds of the iteration count, which makes guessing a password costly. They
// are Kafka's; the upper one also bounds what a login by PLAIN costs us.
const (
	MinIterations     = 4096
	MaxIterations     = 16384
	DefaultIterations = 10_000
)

// Lengths of a salt, in bytes. Without a lower bound equal passwords could show.
const (
	MinSaltBytes = 8
	MaxSaltBytes = 128
	NewSaltBytes = 24
)

// Credential is what is stored of a password for one SCRAM mechanism: enough to
// check a login, too little to log in.
type Credential struct {
	Iterations int    `json:"iterations"`
	Salt       []byte `json:"salt"`
	StoredKey  []byte `json:"stored_key"` // H(HMAC(SaltedPassword, "Client Key"))
	ServerKey  []byte `json:"server_key"` // HMAC(SaltedPassword, "Server Key")
}

// ErrCredential means that a credential cannot be stored: the text says why.
var ErrCredential = errors.New("auth: unacceptable credential")

// NewCredential derives the credential of a password. It costs milliseconds.
// Like Kafka it takes the password's bytes as they are, without SASLprep.
func NewCredential(m Mechanism, password string, salt []byte, iterations int) (Credential, error) {
	if password == "" {
		return Credential{}, fmt.Errorf("%w: the password is empty", ErrCredential)
	}
	if err := checkDerivation(m, salt, iterations); err != nil {
		return Credential{}, err
	}
	salted, err := saltedPassword(m, password, salt, iterations)
	if err != nil {
		return Credential{}, fmt.Errorf("%w: %w", ErrCredential, err)
	}
	return SaltedCredential(m, salted, salt, iterations)
}

// SaltedCredential is NewCredential for a client that salted the password
// itself, as Kafka's AlterUserScramCredentials does: the password stays there.
func SaltedCredential(m Mechanism, salted, salt []byte, iterations int) (Credential, error) {
	if err := checkDerivation(m, salt, iterations); err != nil {
		return Credential{}, err
	}
	if want := m.hash()().Size(); len(salted) != want {
		return Credential{}, fmt.Errorf("%w: a salted password of %s has %d bytes, not %d", ErrCredential, m, want, len(salted))
	}
	c := Credential{Iterations: iterations, Salt: salt, ServerKey: mac(m, salted, "Server Key")}
	c.StoredKey = digest(m, mac(m, salted, "Client Key"))
	return c, nil
}

func checkDerivation(m Mechanism, salt []byte, iterations int) error {
	switch {
	case m.hash() == nil:
		return fmt.Errorf("%w: %s is no SCRAM mechanism", ErrCredential, m)
	case iterations < MinIterations || iterations > MaxIterations:
		return fmt.Errorf("%w: %d iterations are not within %d and %d", ErrCredential, iterations, MinIterations, MaxIterations)
	case len(salt) < MinSaltBytes || len(salt) > MaxSaltBytes:
		return fmt.Errorf("%w: a salt of %d bytes is not within %d and %d", ErrCredential, len(salt), MinSaltBytes, MaxSaltBytes)
	}
	return nil
}

// check reports what is wrong with a credential that was stored.
func (c Credential) check(m Mechanism) error {
	if err := checkDerivation(m, c.Salt, c.Iterations); err != nil {
		return err
	}
	if size := m.hash()().Size(); len(c.StoredKey) != size || len(c.ServerKey) != size {
		return fmt.Errorf("%w: keys of %s have %d bytes", ErrCredential, m, size)
	}
	return nil
}

// Verify reports whether password belongs to the credential. It costs as much as
// NewCredential, whatever the answer.
func (c Credential) Verify(m Mechanism, password string) bool {
	salted, err := saltedPassword(m, password, c.Salt, c.Iterations)
	if err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(digest(m, mac(m, salted, "Client Key")), c.StoredKey) == 1
}

func saltedPassword(m Mechanism, password string, salt []byte, iterations int) ([]byte, error) {
	return pbkdf2.Key(m.hash(), password, salt, iterations, m.hash()().Size())
}

func mac(m Mechanism, key []byte, text string) []byte {
	h := hmac.New(m.hash(), key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func digest(m Mechanism, b []byte) []byte {
	h := m.hash()()
	h.Write(b)
	return h.Sum(nil)
}

// maxName bounds the name of a user, in bytes.
const maxName = 249

// CheckName reports what is wrong with a new user's name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the user name is empty", ErrCredential)
	case len(name) > maxName:
		return fmt.Errorf("%w: a user name has at most %d bytes, this one has %d", ErrCredential, maxName, len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the user name is not UTF-8", ErrCredential)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: the user name %q holds a control character", ErrCredential, name)
		}
	}
	return nil
}
