package helm_test

import (
	"fmt"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"
)

// criticism is what a check says of an object.
type criticism struct{ object, check, comment string }

// exemption is advice that is not followed; exemptions.yaml says what its fields are.
type exemption struct {
	Chart, Check, Comment string
	Objects               []string
	Reason                string
}

func exemptions(t *testing.T) []exemption {
	t.Helper()
	text, err := os.ReadFile("exemptions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []exemption
	if err := sigsyaml.UnmarshalStrict(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// remaining is what of the criticism no exemption takes away, and what is wrong with exemptions that go further than what needs them: each pattern of
// theirs must be one of an object that was looked at, and each object that it takes in must be criticised for what it is exempt from.
func remaining(t *testing.T, exemptions []exemption, looked []string, found []criticism) (remain []criticism, needless []string) {
	t.Helper()
	looked = slices.Compact(slices.Sorted(slices.Values(looked)))
	exempt := map[criticism]bool{}
	for _, e := range exemptions {
		for _, pattern := range e.Objects {
			taken := false
			for _, object := range looked {
				matched, err := path.Match(pattern, object)
				if err != nil {
					t.Fatalf("exemptions.yaml: %s: %v", pattern, err)
				}
				if !matched {
					continue
				}
				taken = true
				needed := false
				for _, c := range found {
					if c.object == object && c.check == e.Check && (e.Comment == "" || e.Comment == c.comment) {
						exempt[c], needed = true, true
					}
				}
				if !needed {
					needless = append(needless, fmt.Sprintf("exemptions.yaml: %s takes in %s, which need not be exempt from %s %s: let it take in less", pattern, object, e.Check, e.Comment))
				}
			}
			if !taken {
				needless = append(needless, fmt.Sprintf("exemptions.yaml: there is no %s to be exempt from %s: take it out", pattern, e.Check))
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(found), func(c criticism) bool { return exempt[c] }), needless
}

// TestExemptionsHaveReasons, and none is of a chart and a check for which no test looks at it.
func TestExemptionsHaveReasons(t *testing.T) {
	t.Parallel()
	for _, e := range exemptions(t) {
		if e.Reason == "" || len(e.Objects) == 0 {
			t.Errorf("the exemption from %s has the objects %v and the reason %q", e.Check, e.Objects, e.Reason)
		}
		if others := slices.Contains([]string{"cert-manager", "ingress-nginx"}, e.Chart); others != (e.Check == policiesCheck) || !others && e.Chart != "" {
			t.Errorf("no test looks at the exemption of the chart %q from %s", e.Chart, e.Check)
		}
	}
}

// TestExemptionsAreNeeded: an exemption takes away what it names and nothing else, and one that goes further than what needs it is found.
func TestExemptionsAreNeeded(t *testing.T) {
	t.Parallel()
	looked := []string{"Deployment/a", "Deployment/b", "Pod/a", "Deployment/a"}
	memory, cpu := criticism{"Deployment/a", "limits", "no memory"}, criticism{"Deployment/a", "limits", "no cpu"}
	for _, test := range []struct {
		name      string
		exemption exemption
		remain    []criticism
		needless  int
	}{
		{"as it should be", exemption{Check: "limits", Objects: []string{"Deployment/a"}}, []criticism{}, 0},
		{"one comment of two", exemption{Check: "limits", Comment: "no cpu", Objects: []string{"Deployment/a"}}, []criticism{memory}, 0},
		{"an object that has it", exemption{Check: "limits", Objects: []string{"Deployment/a", "Deployment/b"}}, []criticism{}, 1},
		{"all objects of a kind", exemption{Check: "limits", Objects: []string{"Deployment/*"}}, []criticism{}, 1},
		{"an object that is not there", exemption{Check: "limits", Objects: []string{"Deployment/a", "Deployment/c"}}, []criticism{}, 1},
		{"all kinds", exemption{Check: "limits", Objects: []string{"*/a"}}, []criticism{}, 1},
		{"another check", exemption{Check: "probes", Objects: []string{"Deployment/a"}}, []criticism{memory, cpu}, 1},
		{"another comment", exemption{Check: "limits", Comment: "no disk", Objects: []string{"Deployment/a"}}, []criticism{memory, cpu}, 1},
	} {
		remain, needless := remaining(t, []exemption{test.exemption}, looked, []criticism{memory, cpu})
		if diff := cmp.Diff(test.remain, remain, cmp.AllowUnexported(criticism{})); diff != "" || len(needless) != test.needless {
			t.Errorf("%s: %d complaints %q, want %d, and what remains (-want +got):\n%s", test.name, len(needless), needless, test.needless, diff)
		}
	}
}
