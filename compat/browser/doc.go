// Package browser looks, in its test, at Millrace's page in a real Chromium.
package browser
