package user

import (
	"context"
	"errors"
	"net/http"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

func (s *Service) listCredentials(w http.ResponseWriter, r *http.Request) error {
	return credentials().list(w, r, s.db, "")
}

func (s *Service) getCredential(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "credentialId")
	if err != nil {
		return err
	}
	c, err := credentials().byID(r.Context(), s.db, id)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, c)
}

func (s *Service) getCredentialByUsername(w http.ResponseWriter, r *http.Request) error {
	c, err := credentials().byUsername(r.Context(), s.db, r.PathValue("username"))
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, c)
}

// postCredential gives a user a credential. A user has one: for a user who has it already, and with the
// id of an existing credential, this is a change.
func (s *Service) postCredential(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.Credential](w, r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	if body.CredentialID != 0 {
		var owner api.ID
		err := s.db.QueryRow(ctx, `SELECT user_id FROM credentials WHERE credential_id = ?`, int64(body.CredentialID)).Scan(&owner)
		caller := auth.CallerOf(ctx)
		switch {
		case errors.Is(err, sqldb.ErrNotFound): // a new one, with a new id
		case err != nil:
			return err
		case !caller.SeesAll() && caller.UserID != owner:
			return api.Conflict("the credential with id: %d exists and is not yours to change", body.CredentialID)
		default:
			return s.changeCredential(w, r, body.CredentialID, body)
		}
	}
	if body.User == nil || body.User.UserID == 0 {
		return api.Invalid(api.FieldError{Field: "user.userId", Reason: "must name the user that the credential is for"})
	}
	u, err := users().byID(ctx, s.db, body.User.UserID)
	if api.IsStatus(err, http.StatusNotFound) {
		return noSuchUser()
	}
	if err != nil {
		return err
	}
	if u.Credential != nil {
		return s.changeCredential(w, r, u.Credential.CredentialID, body)
	}
	return s.createCredential(w, r, u.UserID, body)
}

// noSuchUser refuses a nested user that does not exist or is not the caller's.
func noSuchUser() error {
	return api.Invalid(api.FieldError{Field: "user.userId", Reason: "names no user"})
}

func (s *Service) createCredential(w http.ResponseWriter, r *http.Request, user api.ID, body api.Credential) error {
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	change, err := s.newCredential(ctx, body, "", mayGrant(ctx))
	if err != nil {
		return err
	}
	var created api.Credential
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		found, err := updateUser(ctx, tx, user, api.User{}, now)
		if err != nil {
			return err
		}
		if !found {
			return noSuchUser()
		}
		if err := saveCredential(ctx, tx, user, change, now); err != nil {
			return err
		}
		if created, err = credentials().find(ctx, tx, "c.user_id", int64(user)); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "credential", created.CredentialID, "CREATED", nil, now)
	})
	if err != nil {
		return taken(err, change)
	}
	w.Header().Set("Location", "/user-service/api/credentials/"+created.CredentialID.String())
	return web.JSON(w, http.StatusCreated, created)
}

func (s *Service) putCredentialByID(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "credentialId")
	if err != nil {
		return err
	}
	body, err := web.Read[api.Credential](w, r)
	if err != nil {
		return err
	}
	return s.changeCredential(w, r, id, body)
}

func (s *Service) changeCredential(w http.ResponseWriter, r *http.Request, id api.ID, body api.Credential) error {
	if err := api.Valid(body.Validate()); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	stored, err := credentials().byID(ctx, s.db, id)
	if err != nil {
		return err
	}
	if body.User != nil && body.User.UserID != 0 && body.User.UserID != stored.User.UserID {
		return api.Invalid(api.FieldError{Field: "user.userId", Reason: "cannot change: a credential stays with its user"})
	}
	change, err := s.changeOf(ctx, body, &stored, "")
	if err != nil {
		return err
	}
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		// The credential may have gone since it was read, and must not come back under a new id.
		found, err := updateUser(ctx, tx, stored.User.UserID, api.User{}, now)
		if err != nil {
			return err
		}
		if !found {
			return credentials().notFound(id)
		}
		if _, err := credentials().byID(ctx, tx, id); err != nil {
			return err
		}
		if err := saveCredential(ctx, tx, stored.User.UserID, change, now); err != nil {
			return err
		}
		if stored, err = credentials().byID(ctx, tx, id); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "credential", id, "CHANGED", nil, now)
	})
	if err != nil {
		return taken(err, change)
	}
	return web.JSON(w, http.StatusOK, stored)
}

func (s *Service) deleteCredential(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "credentialId")
	if err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		stored, err := credentials().byID(ctx, tx, id)
		if err != nil {
			return err
		}
		found, err := updateUser(ctx, tx, stored.User.UserID, api.User{}, now)
		if err != nil {
			return err
		}
		if !found {
			return credentials().notFound(id)
		}
		if err := forgetCredential(ctx, tx, stored.User.UserID, now); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "credential", id, "DELETED", nil, now)
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

// mayGrant reports whether the caller may set roles and flags.
func mayGrant(ctx context.Context) bool { return auth.CallerOf(ctx).SeesAll() }

// newCredential is what to write for a credential that does not exist yet. Without grant its role and
// flags are those of a new customer, whatever was sent. prefix stands before the names of fields.
func (s *Service) newCredential(ctx context.Context, sent api.Credential, prefix string, grant bool) (credentialChange, error) {
	var problems []api.FieldError
	if sent.Username == nil || *sent.Username == "" {
		problems = append(problems, api.FieldError{Field: prefix + "username", Reason: "must not be empty"})
	}
	if s.settings.PasswordRules && (sent.Password == nil || *sent.Password == "") {
		problems = append(problems, api.FieldError{Field: prefix + "password", Reason: "must not be empty"})
	}
	if len(problems) > 0 {
		return credentialChange{}, api.Invalid(problems...)
	}
	change := credentialChange{username: sent.Username, role: new(api.RoleUser)}
	if grant {
		change.enabled, change.nonExpired = sent.IsEnabled, sent.IsAccountNonExpired
		change.nonLocked, change.passwordGood = sent.IsAccountNonLocked, sent.IsCredentialsNonExpired
		if sent.RoleBasedAuthority != nil {
			change.role = sent.RoleBasedAuthority
		}
	}
	// Looked at before the password is hashed, which costs more; the unique index has the last word.
	var one int
	err := s.db.QueryRow(ctx, `SELECT 1 FROM credentials WHERE username_key = ?`, usernameKey(*sent.Username)).Scan(&one)
	if err == nil {
		return change, usernameTaken(*sent.Username)
	}
	if !errors.Is(err, sqldb.ErrNotFound) {
		return change, err
	}
	return change, s.hashInto(ctx, &change, sent.Password, *sent.Username, prefix)
}

// changeOf is what to write to a credential so that it becomes what was sent; stored is nil when the
// user has none. Only those who may grant can change role and flags; sending the stored ones back is
// no change.
func (s *Service) changeOf(ctx context.Context, sent api.Credential, stored *api.Credential, prefix string) (credentialChange, error) {
	grant := mayGrant(ctx)
	if stored == nil {
		return s.newCredential(ctx, sent, prefix, grant)
	}
	change := credentialChange{username: sent.Username}
	if sent.Username != nil && *sent.Username == "" {
		return change, api.Invalid(api.FieldError{Field: prefix + "username", Reason: "must not be empty"})
	}
	if grant {
		change.role, change.enabled, change.nonExpired = sent.RoleBasedAuthority, sent.IsEnabled, sent.IsAccountNonExpired
		change.nonLocked, change.passwordGood = sent.IsAccountNonLocked, sent.IsCredentialsNonExpired
	} else if differs(sent.RoleBasedAuthority, stored.RoleBasedAuthority) || differs(sent.IsEnabled, stored.IsEnabled) ||
		differs(sent.IsAccountNonExpired, stored.IsAccountNonExpired) || differs(sent.IsAccountNonLocked, stored.IsAccountNonLocked) ||
		differs(sent.IsCredentialsNonExpired, stored.IsCredentialsNonExpired) {
		return change, api.Forbidden("role and flags of a credential are changed by administrators only; leave them out")
	}
	username := *stored.Username
	if sent.Username != nil {
		username = *sent.Username
	}
	return change, s.hashInto(ctx, &change, sent.Password, username, prefix)
}

func differs[T comparable](sent, stored *T) bool { return sent != nil && *sent != *stored }

// hashInto puts the hash of a password into the change. None, or an empty one, changes nothing.
func (s *Service) hashInto(ctx context.Context, change *credentialChange, password *string, username, prefix string) error {
	if password == nil || *password == "" {
		return nil
	}
	if s.settings.PasswordRules {
		if reason := weakness(*password, username); reason != "" {
			return api.Invalid(api.FieldError{Field: prefix + "password", Reason: reason})
		}
	}
	hash, err := s.hasher.hash(ctx, *password)
	change.hash = &hash
	return err
}

// taken turns a violated unique index into words: the username's is the only one that can be.
func taken(err error, change credentialChange) error {
	if errors.Is(err, sqldb.ErrConflict) && change.username != nil {
		return usernameTaken(*change.username)
	}
	return err
}

func usernameTaken(username string) error {
	return api.Conflict("the username %s is taken; choose another", username)
}
