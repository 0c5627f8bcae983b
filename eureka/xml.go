package eureka

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// MarshalXML writes one element per key, the keys in order and escaped.
func (m Metadata) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if m == nil {
		return nil
	}
	if len(m) == 0 {
		start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "class"}, Value: emptyMap})
	}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		name := xml.StartElement{Name: xml.Name{Local: escapeName(key)}}
		if err := e.EncodeElement(m[key], name); err != nil {
			return fmt.Errorf("metadata %q: %w", key, err)
		}
	}
	return e.EncodeToken(start.End())
}

// UnmarshalXML reads every child element as an entry.
func (m *Metadata) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	*m = Metadata{}
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			var value string
			if err := d.DecodeElement(&value, &token); err != nil {
				return err
			}
			name := token.Name.Local
			if token.Name.Space != "" { // an undeclared prefix; XML reads a raw colon as one
				name = token.Name.Space + ":" + name
			}
			(*m)[unescapeName(name)] = value
		case xml.EndElement:
			return nil
		}
	}
}

// escapeName makes an element name of any key. Letters outside ASCII are escaped
// as well, which readers undo all the same
// (com.thoughtworks.xstream.io.xml.XmlFriendlyNameCoder).
func escapeName(key string) string {
	var b strings.Builder
	for i, r := range key {
		switch {
		case r == '_':
			b.WriteString("__")
		case r == '$':
			b.WriteString("_-")
		case r < 0x80 && nameByte(byte(r), i == 0):
			b.WriteRune(r)
		default: // Java escapes each half of a surrogate pair
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, "_.%04x", unit)
			}
		}
	}
	if b.Len() == 0 { // no element can be written without a name
		return "__"
	}
	return b.String()
}

func nameByte(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	case '0' <= c && c <= '9', c == '-', c == '.':
		return !first
	}
	return false
}

// unescapeName is the reverse of escapeName. What is no escape stays as it is.
func unescapeName(name string) string {
	var units []uint16
	var b strings.Builder
	flush := func() {
		b.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(name); i++ {
		rest := name[i:]
		if strings.HasPrefix(rest, "_.") && len(rest) >= 6 {
			if unit, err := strconv.ParseUint(rest[2:6], 16, 16); err == nil {
				units = append(units, uint16(unit))
				i += 5
				continue
			}
		}
		flush()
		switch {
		case strings.HasPrefix(rest, "__"):
			b.WriteByte('_')
			i++
		case strings.HasPrefix(rest, "_-"):
			b.WriteByte('$')
			i++
		default:
			b.WriteByte(name[i])
		}
	}
	flush()
	return b.String()
}

// UnmarshalXML gives elements that are missing their defaults and reads
// overriddenStatus in both spellings.
func (in *Instance) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	type plain Instance
	decoded := struct {
		plain
		CamelCase Status `xml:"overriddenStatus"`
	}{plain: plain(newInstance())}
	if err := d.DecodeElement(&decoded, &start); err != nil {
		return err
	}
	if decoded.CamelCase != "" {
		decoded.OverriddenStatus = decoded.CamelCase
	}
	*in = Instance(decoded.plain)
	return nil
}

// encodeXML writes v as the element root.
func encodeXML(root string, v any) ([]byte, error) {
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	if err := e.EncodeElement(v, xml.StartElement{Name: xml.Name{Local: root}}); err != nil {
		return nil, err
	}
	err := e.Close()
	return b.Bytes(), err
}

// decodeInstanceXML reads an instance element.
func decodeInstanceXML(body []byte) (Instance, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if err != nil {
			return Instance{}, err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Local != "instance" {
			return Instance{}, fmt.Errorf("the root element is <%s>, want <instance>", start.Name.Local)
		}
		var in Instance
		err = d.DecodeElement(&in, &start)
		return in, err
	}
}
