-- +goose Up
CREATE TABLE categories (
    category_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    parent_id BIGINT,
    title VARCHAR(255),
    image_url VARCHAR(2048),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    CONSTRAINT categories_parent FOREIGN KEY (parent_id) REFERENCES categories (category_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX categories_parent_id ON categories (parent_id);
CREATE INDEX categories_title ON categories (title);

-- One row, updated first by whatever changes the shape of the tree: two changes at once could close a
-- circle that neither sees.
CREATE TABLE category_tree (
    tree_id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO category_tree (tree_id, version) VALUES (1, 0);
