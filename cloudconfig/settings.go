package cloudconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings of the server, under spring.cloud.config.server. Start from DefaultSettings.
type Settings struct {
	Prefix                string         `koanf:"prefix"`                   // before every path
	AcceptEmpty           bool           `koanf:"accept-empty"`             // false: 404 when there are no sources
	Overrides             map[string]any `koanf:"overrides"`                // before all sources of every environment
	StripDocumentFromYAML bool           `koanf:"strip-document-from-yaml"` // show a file that is no map as it is
	Native                Native         `koanf:"native"`                   // where the files are
	Encrypt               Encrypt        `koanf:"encrypt"`                  // what {cipher} values become
	Key                   Key            `koanf:"-"`                        // bound from the prefix encrypt
	User                  User           `koanf:"-"`                        // bound from spring.security.user
}

// Native settings say where the files are.
type Native struct {
	// SearchLocations are folders, later ones taking precedence: file:/etc/config,
	// ./config, or classpath:/sub for a folder of the file system given to
	// NewServer; {application}, {profile} and {label} are replaced. None means
	// the whole of that file system.
	SearchLocations   []string `koanf:"search-locations"`
	AddLabelLocations bool     `koanf:"add-label-locations"` // also read the folder <location>/<label>
	DefaultLabel      string   `koanf:"default-label"`       // where a request names none
	Version           string   `koanf:"version"`             // shown in environments
}

// Encrypt settings say what happens to values that begin with {cipher}.
type Encrypt struct {
	Enabled                 bool `koanf:"enabled"`                   // decrypt them before answering
	PrefixInvalidProperties bool `koanf:"prefix-invalid-properties"` // what cannot be decrypted becomes invalid.<key>
}

// Key is the symmetric key; without one there is no encryption.
type Key struct {
	Key  string `koanf:"key"`
	Salt string `koanf:"salt"` // hexadecimal
}

// User is who may use the server, by basic authentication; without a password
// everybody may.
type User struct {
	Name     string `koanf:"name"`
	Password string `koanf:"password"`
}

const defaultSalt = "deadbeef" // Spring's, so that both decrypt the same texts

// DefaultSettings are those of Spring Cloud Config with the native backend.
func DefaultSettings() Settings {
	return Settings{
		AcceptEmpty:           true,
		StripDocumentFromYAML: true,
		Native:                Native{AddLabelLocations: true, DefaultLabel: "master"},
		Encrypt:               Encrypt{Enabled: true, PrefixInvalidProperties: true},
		Key:                   Key{Salt: defaultSalt},
		User:                  User{Name: "user"},
	}
}

// overrideEscapes hide braces and placeholders from whoever reads the server's own settings.
var overrideEscapes = strings.NewReplacer(`\${`, "${", `\{`, "{")

// overrideSource flattens the overrides, in the order of their keys.
func overrideSource(m map[string]any) Source {
	var b sourceBuilder
	flattenOverride(&b, "", m)
	return b.source
}

func flattenOverride(b *sourceBuilder, key string, v any) {
	p := Property{Key: key, Origin: "Config server overrides"}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			full := name
			if key != "" {
				full = key + "." + name
			}
			flattenOverride(b, full, v[name])
		}
		return
	case []any:
		for i, item := range v {
			flattenOverride(b, fmt.Sprintf("%s[%d]", key, i), item)
		}
		if len(v) > 0 {
			return
		}
		p.Value = ""
	case nil:
		p.Value = ""
	case string:
		p.Value = overrideEscapes.Replace(v)
	case int:
		p.Value = int64(v)
	case bool, int64, float64:
		p.Value = v
	default:
		p.Value = fmt.Sprint(v)
	}
	b.add(p)
}
