package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Roles of a user.
const (
	RoleUser  = "ROLE_USER"
	RoleAdmin = "ROLE_ADMIN"
)

// User is a customer or an administrator. Answers never carry Addresses; they carry Credential
// where the user stands alone, not where it is nested in another resource. Fields that are null in a
// request leave what is stored as it is.
type User struct {
	UserID     ID          `json:"userId"`
	FirstName  *string     `json:"firstName"`
	LastName   *string     `json:"lastName"`
	ImageURL   *string     `json:"imageUrl"`
	Email      *string     `json:"email"`
	Phone      *string     `json:"phone"`
	Addresses  []Address   `json:"addressDtos,omitempty"`
	Credential *Credential `json:"credential,omitempty"`
}

// Validate returns what is wrong with the fields that are given, those of the credential included.
func (u User) Validate() []FieldError {
	errors := slices.Concat(
		CheckProse("firstName", u.FirstName, 255), CheckProse("lastName", u.LastName, 255),
		CheckProse("imageUrl", u.ImageURL, 1024), CheckProse("email", u.Email, 254), CheckProse("phone", u.Phone, 64))
	if u.Email != nil && *u.Email != "" && len(errors) == 0 {
		if address, err := mail.ParseAddress(*u.Email); err != nil || address.Address != *u.Email {
			errors = append(errors, FieldError{Field: "email", Reason: "must be an e-mail address such as name@example.com"})
		}
	}
	if u.Credential != nil {
		for _, e := range u.Credential.Validate() {
			e.Field = "credential." + e.Field
			errors = append(errors, e)
		}
	}
	return errors
}

// UnmarshalJSON also accepts "credentialDto".
func (u *User) UnmarshalJSON(data []byte) error {
	type plain User
	aux := struct {
		*plain
		Alias *Credential `json:"credentialDto"`
	}{plain: (*plain)(u)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if u.Credential == nil {
		u.Credential = aux.Alias
	}
	return nil
}

// Credential is how a user logs in. Password is only read, never written out: answers hold null.
type Credential struct {
	CredentialID            ID                  `json:"credentialId"`
	Username                *string             `json:"username"`
	Password                *string             `json:"password"`
	RoleBasedAuthority      *string             `json:"roleBasedAuthority"`
	IsEnabled               *bool               `json:"isEnabled"`
	IsAccountNonExpired     *bool               `json:"isAccountNonExpired"`
	IsAccountNonLocked      *bool               `json:"isAccountNonLocked"`
	IsCredentialsNonExpired *bool               `json:"isCredentialsNonExpired"`
	User                    *User               `json:"user,omitempty"`
	VerificationTokens      []VerificationToken `json:"verificationTokenDtos,omitempty"`
}

// maxPassword is in bytes: hashing longer ones would cost more than any password is worth.
const maxPassword = 512

// Validate returns what is wrong with the fields that are given. Whether a password is good enough is
// for user-service to say.
func (c Credential) Validate() []FieldError {
	errors := CheckProse("username", c.Username, 255)
	if c.Username != nil && (strings.TrimSpace(*c.Username) != *c.Username || strings.ContainsAny(*c.Username, "\n\r\t")) {
		errors = append(errors, FieldError{Field: "username", Reason: "must not begin or end with a blank or hold line breaks"})
	}
	if c.Password != nil && len(*c.Password) > maxPassword {
		errors = append(errors, FieldError{Field: "password", Reason: "must not be longer than " + strconv.Itoa(maxPassword) + " bytes"})
	}
	if c.RoleBasedAuthority != nil && *c.RoleBasedAuthority != RoleUser && *c.RoleBasedAuthority != RoleAdmin {
		errors = append(errors, FieldError{Field: "roleBasedAuthority", Reason: "must be " + RoleUser + " or " + RoleAdmin})
	}
	return errors
}

// UnmarshalJSON also accepts "userDto".
func (c *Credential) UnmarshalJSON(data []byte) error {
	type plain Credential
	aux := struct {
		*plain
		Alias *User `json:"userDto"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if c.User == nil {
		c.User = aux.Alias
	}
	return nil
}

// Address is a place of a user that orders can be shipped to. Country is ISO 3166 alpha-2.
type Address struct {
	AddressID   ID      `json:"addressId"`
	FullAddress *string `json:"fullAddress"`
	PostalCode  *string `json:"postalCode"`
	City        *string `json:"city"`
	Country     *string `json:"country"`
	Version     int64   `json:"version,omitempty"`
	User        *User   `json:"user,omitempty"`
}

// Validate returns what is wrong with the fields that are given.
func (a Address) Validate() []FieldError {
	errors := slices.Concat(CheckProse("fullAddress", a.FullAddress, 255), CheckProse("postalCode", a.PostalCode, 32),
		CheckProse("city", a.City, 120))
	if a.Country != nil && !IsCountry(*a.Country) {
		errors = append(errors, FieldError{Field: "country", Reason: "must be an ISO 3166 alpha-2 code such as TN or US"})
	}
	return errors
}

// UnmarshalJSON also accepts "userDto".
func (a *Address) UnmarshalJSON(data []byte) error {
	type plain Address
	aux := struct {
		*plain
		Alias *User `json:"userDto"`
	}{plain: (*plain)(a)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if a.User == nil {
		a.User = aux.Alias
	}
	return nil
}

// VerificationToken proves that a user owns an e-mail address.
type VerificationToken struct {
	VerificationTokenID ID          `json:"verificationTokenId"`
	Token               *string     `json:"token"`
	ExpireDate          Date        `json:"expireDate"`
	Credential          *Credential `json:"credential,omitempty"`
}

// Validate returns what is wrong with the fields that are given.
func (v VerificationToken) Validate() []FieldError { return CheckProse("token", v.Token, 255) }

// UnmarshalJSON also accepts "credentialDto".
func (v *VerificationToken) UnmarshalJSON(data []byte) error {
	type plain VerificationToken
	aux := struct {
		*plain
		Alias *Credential `json:"credentialDto"`
	}{plain: (*plain)(v)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if v.Credential == nil {
		v.Credential = aux.Alias
	}
	return nil
}

// User returns one user.
func (c *Client) User(ctx context.Context, id ID) (User, error) {
	return get[User](ctx, c, "user-service", "/api/users/"+id.String())
}

// Users returns those of the users that exist and that the caller may see, in one call.
func (c *Client) Users(ctx context.Context, ids []ID) ([]User, error) {
	list, err := get[List[User]](ctx, c, "user-service", "/api/users?ids="+joinIDs(ids))
	return list.Collection, err
}

// CreateUser registers a user, or creates one on behalf of an administrator.
func (c *Client) CreateUser(ctx context.Context, user User) (User, error) {
	return send[User](ctx, c, http.MethodPost, "user-service", "/api/users", "", user)
}

// Address returns one address.
func (c *Client) Address(ctx context.Context, id ID) (Address, error) {
	return get[Address](ctx, c, "user-service", "/api/address/"+id.String())
}

// AddressesOf returns the addresses of one user.
func (c *Client) AddressesOf(ctx context.Context, user ID) ([]Address, error) {
	list, err := get[List[Address]](ctx, c, "user-service", "/api/address?userId="+user.String())
	return list.Collection, err
}

// CredentialOf returns the credential with a username, without its password.
func (c *Client) CredentialOf(ctx context.Context, username string) (Credential, error) {
	return get[Credential](ctx, c, "user-service", "/api/credentials/username/"+url.PathEscape(username))
}
