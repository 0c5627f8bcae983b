package helm_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"
)

// exemption is advice that is not followed.
type exemption struct {
	Check, Object, Reason string
}

// holds reports whether an object is exempt from a check.
func (e exemption) holds(check, object string) bool {
	return e.Check == check && regexp.MustCompile("^("+e.Object+")$").MatchString(object)
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

// cpuLimit is the name in exemptions.yaml of what kube-score can be told not to look at.
const cpuLimit = "container-resources-cpu-limit"

// TestScore asks kube-score about both environments and about backups. What it criticises is mended, or stands in exemptions.yaml with the
// reason.
func TestScore(t *testing.T) {
	t.Parallel()
	exemptions := exemptions(t)
	needed := map[string]bool{cpuLimit: true, kubeconformCheck: true}
	for environment := range goldens() {
		for _, said := range score(t, "testdata/"+environment+".yaml") {
			exempt := false
			for _, e := range exemptions {
				if e.holds(said.check, said.object) {
					exempt, needed[e.Check] = true, true
				}
			}
			if !exempt {
				t.Errorf("%s: %s: %s: %s", environment, said.object, said.check, said.comment)
			}
		}
	}
	for _, e := range exemptions {
		if e.Reason == "" {
			t.Errorf("the exemption from %s has no reason", e.Check)
		}
		if !needed[e.Check] {
			t.Errorf("nothing needs the exemption from %s any more: take it out of exemptions.yaml", e.Check)
		}
	}
}

type criticism struct{ object, check, comment string }

// gradeOK is from where on kube-score is content; below are warnings, and below those what it calls critical.
const gradeOK = 10

// score is what kube-score criticises in a file.
func score(t *testing.T, file string) []criticism {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../../tools/charts/go.mod", "kube-score",
		"score", file, "--output-format=json", "--ignore-container-cpu-limit")
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	err := command.Run() // it fails when it criticises
	var scored []struct {
		TypeMeta struct {
			Kind string `json:"kind"`
		} `json:"type_meta"`
		ObjectMeta struct {
			Name string `json:"name"`
		} `json:"object_meta"`
		Checks []struct {
			Check struct {
				ID string `json:"id"`
			} `json:"check"`
			Grade    int  `json:"grade"`
			Skipped  bool `json:"skipped"`
			Comments []struct {
				Path    string `json:"path"`
				Summary string `json:"summary"`
			} `json:"comments"`
		} `json:"checks"`
	}
	if errDecode := json.Unmarshal(out.Bytes(), &scored); errDecode != nil || len(scored) == 0 {
		t.Fatalf("kube-score: %v, %v\n%s%s", err, errDecode, complaints.String(), out.String())
	}
	var found []criticism
	for _, object := range scored {
		for _, check := range object.Checks {
			if check.Skipped || check.Grade >= gradeOK {
				continue
			}
			var comments []string
			for _, c := range check.Comments {
				comments = append(comments, strings.TrimSpace(c.Path+" "+c.Summary))
			}
			found = append(found, criticism{object.TypeMeta.Kind + "/" + object.ObjectMeta.Name, check.Check.ID, strings.Join(comments, "; ")})
		}
	}
	return found
}
