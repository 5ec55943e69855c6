"""Tables of Ruby, PHP, Kotlin, Swift, Scala, Elixir, Haskell, Lua, Bash, Zig and SQL."""

from __future__ import annotations

from dowse.languages.language import Language, kinds

_RUBY_MODIFIERS = kinds(  # called with a definition as their argument
    "call:private call:protected call:public call:private_class_method call:public_class_method call:module_function "
    "call:memoize call:memo_wise call:ruby2_keywords call:override call:final call:abstract"
)

RUBY = Language(
    "ruby",
    extensions=(".rb", ".rake", ".gemspec", ".ru", ".podspec", ".rbi"),
    filenames=("rakefile", "gemfile", "guardfile", "podfile", "fastfile", "vagrantfile", "brewfile", "capfile"),
    interpreters=("ruby", "jruby"),
    grammar=("tree_sitter_ruby", "language"),
    functions=kinds("method singleton_method"),
    classes=kinds("class"),
    modules=kinds("module"),
    transparent=kinds("body_statement singleton_class begin begin_block if unless else then argument_list")
    | _RUBY_MODIFIERS,
    keyed=kinds("call"),
    calls=kinds("call"),
    names={"call": "method", "scope_resolution": None},
)

PHP = Language(
    "php",
    extensions=(".php", ".phtml", ".php5", ".inc"),
    interpreters=("php",),
    grammar=("tree_sitter_php", "language_php"),
    wrappers=(("<?php\n", ""), ("<?php\nclass A {\n", "\n}")),
    functions=kinds("function_definition method_declaration"),
    classes=kinds("class_declaration interface_declaration trait_declaration enum_declaration"),
    bindings={"assignment_expression": ("left", "right")},
    values={"anonymous_function": "function", "arrow_function": "function"},
    transparent=kinds(
        "namespace_definition compound_statement declaration_list enum_declaration_list if_statement "
        "else_clause expression_statement"
    ),
    leading=kinds("attribute_list"),
    calls=kinds("function_call_expression member_call_expression scoped_call_expression object_creation_expression"),
    names={"function_call_expression": "function", "object_creation_expression": 0, "qualified_name": None},
    doc_comments=("/**",),
)

KOTLIN = Language(
    "kotlin",
    extensions=(".kt", ".kts"),
    interpreters=("kotlin",),
    grammar=("tree_sitter_kotlin", "language"),
    functions=kinds("function_declaration secondary_constructor anonymous_initializer"),
    properties=kinds("property_declaration"),
    classes=kinds("class_declaration object_declaration companion_object type_alias"),
    transparent=kinds("class_body enum_class_body"),
    comments=kinds("line_comment block_comment"),
    calls=kinds("call_expression"),
    names={
        "property_declaration": "<variable_declaration>",
        "variable_declaration": 0,
        "type_alias": "type",
        "call_expression": 0,
        "navigation_expression": None,
    },
    unnamed={"secondary_constructor": "constructor", "anonymous_initializer": "init", "companion_object": "Companion"},
    doc_comments=("/**",),
)

SWIFT = Language(
    "swift",
    extensions=(".swift",),
    interpreters=("swift",),
    grammar=("tree_sitter_swift", "language"),
    functions=kinds("function_declaration init_declaration deinit_declaration subscript_declaration"),
    properties=kinds("property_declaration"),
    classes=kinds("class_declaration protocol_declaration typealias_declaration"),
    transparent=kinds("class_body enum_class_body protocol_body"),
    comments=kinds("comment multiline_comment"),
    calls=kinds("call_expression"),
    names={
        "call_expression": 0,
        "navigation_expression": None,
        "user_type": None,
        "subscript_declaration": None,
        "init_declaration": None,
    },
    unnamed={"init_declaration": "init", "deinit_declaration": "deinit", "subscript_declaration": "subscript"},
    doc_comments=("///", "/**"),
)

SCALA = Language(
    "scala",
    extensions=(".scala", ".sc", ".sbt", ".mill"),
    interpreters=("scala",),
    grammar=("tree_sitter_scala", "language"),
    functions=kinds("function_definition function_declaration"),
    properties=kinds("val_definition var_definition given_definition"),
    classes=kinds("class_definition object_definition trait_definition enum_definition type_definition package_object"),
    transparent=kinds("package_clause template_body enum_body with_template_body extension_definition indented_block"),
    comments=kinds("comment block_comment"),
    open_ended=kinds("indented_block indented_cases template_body with_template_body enum_body"),
    calls=kinds("call_expression"),
    names={
        "val_definition": "pattern",
        "var_definition": "pattern",
        "call_expression": "function",
        "generic_function": "function",
        "field_expression": None,
    },
    doc_comments=("/**",),
)

_ELIXIR_MODULES = kinds("call:defmodule call:defprotocol call:defimpl")
_ELIXIR_FUNCTIONS = kinds(
    "call:def call:defp call:defmacro call:defmacrop call:defguard call:defguardp call:defdelegate"
)

ELIXIR = Language(
    "elixir",
    extensions=(".ex", ".exs"),
    interpreters=("elixir",),
    grammar=("tree_sitter_elixir", "language"),
    functions=_ELIXIR_FUNCTIONS,
    classes=_ELIXIR_MODULES,
    transparent=kinds("do_block"),
    leading=kinds("unary_operator"),
    grouped=kinds("call:def call:defp call:defmacro call:defmacrop"),
    keyed=kinds("call"),
    calls=kinds("call"),
    names={
        **dict.fromkeys(_ELIXIR_FUNCTIONS | _ELIXIR_MODULES, "<arguments>"),
        "arguments": 0,
        "binary_operator": "left",
        "call": "target",
        "dot": None,
    },
)

HASKELL = Language(
    "haskell",
    extensions=(".hs", ".lhs", ".hsc"),
    interpreters=("runghc", "runhaskell", "stack"),
    grammar=("tree_sitter_haskell", "language"),
    functions=kinds("function bind signature"),
    classes=kinds(
        "data_type newtype type_synonym class instance type_family data_family pattern_synonym foreign_import"
    ),
    transparent=kinds("imports declarations class_declarations instance_declarations"),
    comments=kinds("comment haddock"),
    grouped=kinds("function bind signature"),
    leading=kinds("pragma"),
    calls=kinds("apply"),
    names={
        "function": 0,
        "infix": "operator",
        "apply": "function",
        "instance": "name",
        "pattern_synonym": 0,
        "equation": "synonym",
    },
    doc_comments=("-- |", "{-|"),
)

LUA = Language(
    "lua",
    extensions=(".lua", ".rockspec"),
    interpreters=("lua", "luajit"),
    grammar=("tree_sitter_lua", "language"),
    functions=kinds("function_declaration"),
    bindings={"assignment_statement": (0, 1), "field": ("name", "value")},
    values={"function_definition": "function", "table_constructor": "object"},
    value_wrappers=kinds("expression_list"),
    transparent=kinds("variable_declaration if_statement do_statement block"),
    calls=kinds("function_call"),
    names={"dot_index_expression": None, "method_index_expression": None, "variable_list": 0},
)

BASH = Language(
    "bash",
    extensions=(".sh", ".bash", ".zsh", ".ksh", ".bats", ".ebuild"),
    filenames=(".bashrc", ".bash_profile", ".zshrc", ".profile", "pkgbuild"),
    interpreters=("sh", "bash", "zsh", "ksh", "dash", "ash", "bats"),
    grammar=("tree_sitter_bash", "language"),
    chained=b"|",
    chains_end_at_lines=True,
    functions=kinds("function_definition"),
    transparent=kinds("if_statement else_clause elif_clause case_statement case_item list"),
    calls=kinds("command"),
)

ZIG = Language(
    "zig",
    extensions=(".zig", ".zon"),
    grammar=("tree_sitter_zig", "language"),
    functions=kinds("function_declaration test_declaration"),
    bindings={"variable_declaration": (0, -1)},
    values={
        "struct_declaration": "class",
        "enum_declaration": "class",
        "union_declaration": "class",
        "opaque_declaration": "class",
        "error_set_declaration": "class",
    },
    calls=kinds("call_expression"),
    names={"call_expression": "function", "field_expression": None, "test_declaration": 0},
    unnamed={"test_declaration": "test"},
    doc_comments=("///",),
)

_SQL_FUNCTIONS = kinds("create_function create_procedure create_trigger")
_SQL_CLASSES = kinds(
    "create_table create_view create_materialized_view create_type create_index create_schema create_sequence "
    "create_database create_policy create_extension create_role"
)

SQL = Language(
    "sql",
    extensions=(".sql", ".ddl", ".psql", ".pgsql", ".mysql"),
    grammar=("tree_sitter_sql", "language"),
    functions=_SQL_FUNCTIONS,
    classes=_SQL_CLASSES,
    transparent=kinds("statement transaction block"),
    comments=kinds("comment marginalia"),
    calls=kinds("invocation"),
    names={
        **dict.fromkeys(_SQL_FUNCTIONS | _SQL_CLASSES, "<object_reference>"),
        "create_index": "column",
        "create_schema": "<identifier>",
        "invocation": "<object_reference>",
        "object_reference": None,
    },
)

MORE_CODE: tuple[Language, ...] = (
    RUBY,
    PHP,
    KOTLIN,
    SWIFT,
    SCALA,
    ELIXIR,
    HASKELL,
    LUA,
    BASH,
    ZIG,
    SQL,
)
