package where

import (
	"cmp"
	"encoding/json"
	"math/big"
	"reflect"
	"strconv"
)

func number(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }

// equal holds numbers against each other by what they are worth: 1 is 1.0.
func equal(a, b any) bool {
	if x, ok := a.(json.Number); ok {
		if y, ok := b.(json.Number); ok {
			return compareNumbers(x, y) == 0
		}
	}
	return reflect.DeepEqual(a, b)
}

// compare orders two numbers or two texts.
func compare(a, b any) (c int, ordered bool) {
	switch x := a.(type) {
	case json.Number:
		if y, ok := b.(json.Number); ok {
			return compareNumbers(x, y), true
		}
	case string:
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y), true
		}
	}
	return 0, false
}

// compareNumbers is exact for integers of 64 bits, such as ids, and as exact as
// a float64 for all others.
func compareNumbers(x, y json.Number) int {
	i, errX := x.Int64()
	j, errY := y.Int64()
	if errX == nil && errY == nil {
		return cmp.Compare(i, j)
	}
	return approximate(x).Cmp(approximate(y))
}

func approximate(n json.Number) *big.Float {
	if i, err := n.Int64(); err == nil {
		return new(big.Float).SetInt64(i)
	}
	f, _ := n.Float64() // infinite beyond its range
	return big.NewFloat(f)
}
