// What subgroup matrices of float16 need of the device. Comes before all declarations.
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
