package eureka

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// emptyMap is the class that tells Java clients of a map without entries.
const emptyMap = "java.util.Collections$EmptyMap"

// scalar is the text of a JSON string, number or boolean: clients differ in
// which of them they send.
func scalar(data []byte) (string, error) {
	var s string
	if json.Unmarshal(data, &s) == nil {
		return strings.TrimSpace(s), nil
	}
	if bytes.HasPrefix(data, []byte("{")) || bytes.HasPrefix(data, []byte("[")) {
		return "", fmt.Errorf("%.20s is neither text nor a number", data)
	}
	return string(data), nil
}

// integer is the number in a JSON number or string; empty text is zero.
func integer(data []byte) (int64, error) {
	s, err := scalar(data)
	if err != nil || s == "" {
		return 0, err
	}
	return strconv.ParseInt(s, 10, 64)
}

// MarshalJSON writes a string, as the Netflix server does for instants.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, strconv.FormatInt(int64(m), 10)), nil
}

// UnmarshalJSON reads a string or a number.
func (m *Millis) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	n, err := integer(data)
	*m = Millis(n)
	return err
}

// UnmarshalJSON reads a string or a boolean.
func (f *Flag) UnmarshalJSON(data []byte) error {
	s, err := scalar(data)
	*f = Flag(strings.ToLower(s))
	return err
}

// MarshalJSON writes the number as a number and the flag as a string: fargo
// refuses a boolean there, eureka-js-client compares the number.
func (p Port) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"$":%d,"@enabled":"%t"}`, p.Number, p.Enabled), nil
}

// UnmarshalJSON reads the number from a number or a string, the flag from a
// string or a boolean, and leaves alone what is missing.
func (p *Port) UnmarshalJSON(data []byte) error {
	var wire struct {
		Number  json.RawMessage `json:"$"`
		Enabled Flag            `json:"@enabled"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	if len(wire.Number) > 0 && string(wire.Number) != "null" {
		n, err := integer(wire.Number)
		if err != nil {
			return fmt.Errorf("port: %w", err)
		}
		p.Number = int(n)
	}
	if wire.Enabled != "" {
		p.Enabled = wire.Enabled == "true"
	}
	return nil
}

// MarshalJSON writes an empty map with the class that Java clients expect.
func (m Metadata) MarshalJSON() ([]byte, error) {
	if len(m) == 0 {
		return []byte(`{"@class":"` + emptyMap + `"}`), nil
	}
	return json.Marshal(map[string]string(m))
}

// UnmarshalJSON reads values of any scalar type as text and leaves out @class.
func (m *Metadata) UnmarshalJSON(data []byte) error {
	var wire map[string]json.RawMessage
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*m = make(Metadata, len(wire))
	for key, value := range wire {
		if key == "@class" || string(value) == "null" {
			continue
		}
		text, err := scalar(value)
		if err != nil {
			return fmt.Errorf("metadata %q: %w", key, err)
		}
		(*m)[key] = text
	}
	return nil
}

// UnmarshalJSON gives fields that are missing their defaults. That
// overriddenStatus may come all in lower case needs no care: encoding/json does
// not look at case.
func (in *Instance) UnmarshalJSON(data []byte) error {
	type plain Instance
	decoded := plain(newInstance())
	if err := json.Unmarshal(data, &decoded); err != nil {
		return err
	}
	*in = Instance(decoded)
	return nil
}

// oneOrMany reads an array, or the bare element that old servers write when
// there is only one.
type oneOrMany[T any] []T

func (list *oneOrMany[T]) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("{")) {
		var one T
		if err := json.Unmarshal(data, &one); err != nil {
			return err
		}
		*list = oneOrMany[T]{one}
		return nil
	}
	return json.Unmarshal(data, (*[]T)(list))
}

// UnmarshalJSON reads one instance or a list of them.
func (a *Application) UnmarshalJSON(data []byte) error {
	var wire struct {
		Name      string              `json:"name"`
		Instances oneOrMany[Instance] `json:"instance"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*a = Application{Name: wire.Name, Instances: wire.Instances}
	return nil
}

// UnmarshalJSON reads one application or a list of them, and the version from a
// string or a number.
func (a *Applications) UnmarshalJSON(data []byte) error {
	var wire struct {
		Version      Millis                 `json:"versions__delta"`
		Hash         string                 `json:"apps__hashcode"`
		Applications oneOrMany[Application] `json:"application"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*a = Applications{
		Version:      strconv.FormatInt(int64(wire.Version), 10),
		Hash:         wire.Hash,
		Applications: wire.Applications,
	}
	return nil
}

// encodeJSON writes v below the name that its type has in the protocol.
func encodeJSON(root string, v any) ([]byte, error) {
	return json.Marshal(map[string]any{root: v})
}

// decodeInstanceJSON reads an instance with or without its wrapper.
func decodeInstanceJSON(body []byte) (Instance, error) {
	var wrapper struct {
		Instance *Instance `json:"instance"`
	}
	if err := json.Unmarshal(body, &wrapper); err != nil {
		return Instance{}, err
	}
	if wrapper.Instance != nil {
		return *wrapper.Instance, nil
	}
	var in Instance
	err := json.Unmarshal(body, &in)
	return in, err
}

// decodeApplicationsJSON reads a registry as GET apps answers it.
func decodeApplicationsJSON(body []byte) (Applications, error) {
	var wrapper struct {
		Applications *Applications `json:"applications"`
	}
	if err := json.Unmarshal(body, &wrapper); err != nil {
		return Applications{}, err
	}
	if wrapper.Applications == nil {
		return Applications{}, errors.New(`no "applications" in the answer`)
	}
	return *wrapper.Applications, nil
}
